"""The corners of HTTP/1.1: Expect, HEAD, answers without body, trailers, HTTP/1.0, pipelining (R24)."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.proxy import strict
from tests.proxy.process import Proxy
from tests.proxy.recorder import Record, Recorders
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _echo(request: Message, _wire: Wire) -> bytes:
    return ok(request.line.split(" ")[1].encode() + request.body)


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_r24_whoever_expects_100_gets_it_before_the_body(shared: Proxy, backend: Make, host: str, framing: str) -> None:
    shared.route(host, backend(_echo).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", "Expect: 100-continue", framing, method="POST"))
        assert wire.head().status == 100
        wire.send(b"hello" if "Length" in framing else b"5\r\nhello\r\n0\r\n\r\n")
        assert wire.response().text == "/hello"
        wire.send(get(host, "/next"))
        assert wire.response().text == "/next"


def test_r24_whoever_does_not_wait_for_100_is_served_too(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(_echo).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", "Expect: 100-continue", "Content-Length: 5", method="POST") + b"hello")
        head = wire.head()
        if head.status == 100:
            head = wire.head()
        assert (head.status, wire.body(head, until_end=False)) == (200, b"/hello")


def test_r24_nobody_is_told_to_go_on_in_vain(shared: Proxy, host: str) -> None:
    with shared.connect() as wire:
        wire.send(get(f"nobody.{host}", "/", "Expect: 100-continue", "Content-Length: 5", method="POST"))
        assert wire.head().status == 404


def test_r24_an_http_1_0_client_gets_no_100(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(_echo).address)
    head = f"POST / HTTP/1.0\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    assert shared.ask(head.encode() + b"hello").status == 200


def test_r24_an_unknown_expectation_gets_417(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(_echo)
    shared.route(host, app.address)
    assert shared.ask(get(host, "/", "Expect: coffee")).status == 417
    assert app.requests == []


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n", b"", b"Content-Length: 0\r\n"]
)
def test_r24_an_answer_to_head_has_a_head_only(shared: Proxy, backend: Make, host: str, fields: bytes) -> None:
    app = backend(
        lambda request, _wire: b"HTTP/1.1 200 OK\r\n%s\r\n" % fields if request.line[:4] == "HEAD" else ok(b"x")
    )
    shared.route(host, app.address)
    with shared.connect() as wire:
        wire.send(get(host, method="HEAD") + get(host))
        head = wire.response(has_body=False)
        assert head.status == 200
        if b"Length" in fields:
            assert head.one("content-length") == fields.split()[1].decode()
        assert wire.response().text == "x"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified", b"205 Reset Content\r\nContent-Length: 0"])
def test_r24_answers_without_body_leave_the_connection_as_it_was(
    shared: Proxy, backend: Make, host: str, status: bytes
) -> None:
    app = backend(
        lambda request, _wire: ok(b"x") if "next" in request.line else b'HTTP/1.1 %s\r\nETag: "a"\r\n\r\n' % status
    )
    shared.route(host, app.address)
    with shared.connect() as wire:
        for _ in range(2):
            wire.send(get(host))
            head = wire.response(has_body=False)
            assert head.status == int(status[:3])
            assert head.one("etag") == '"a"'
            assert not (head.status == 204 and head.all("content-length"))
            assert head.all("transfer-encoding") == []
            wire.send(get(host, "/next"))
            assert wire.response().text == "x"


@pytest.fixture
def recorded(shared: Proxy, host: str) -> Iterator[Record]:
    """What a backend of `host` gets, byte for byte."""
    recorders = Recorders()
    address, record = recorders.add()
    shared.route(host, address)
    yield record
    recorders.close()


def test_r24_a_request_with_trailers_is_served_and_the_next_one_too(shared: Proxy, recorded: Record, host: str) -> None:
    body = b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"
    with shared.connect() as wire:
        wire.send(get(host, "/", "Transfer-Encoding: chunked", "Trailer: X-Sum", method="POST") + body)
        wire.send(get(host, "/next"))
        assert [wire.response().text, wire.response().text] == ["POST / 5", "GET /next 0"]
    assert recorded.unsafe() == []


def test_r24_trailers_that_would_change_the_head_are_not_passed_on(shared: Proxy, recorded: Record, host: str) -> None:
    evil = (
        "Host",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "Forwarded",
        "X-Real-IP",
        "Authorization",
        "Cookie",
        "Proxy",
        "Upgrade",
    )
    body = b"5\r\nhello\r\n0\r\n" + "".join(f"{name}: evil\r\n" for name in evil).encode() + b"\r\n"
    framing = b"5\r\nhello\r\n0\r\nContent-Length: 666\r\nTransfer-Encoding: 666\r\nConnection: 666\r\n\r\n"
    for each in (body, framing):
        with shared.connect() as wire:
            wire.send(get(host, "/", "Transfer-Encoding: chunked", "Connection: close", method="POST") + each)
            wire.rest()
    sent = b"".join(recorded.connections)
    assert b"evil" not in sent
    assert b"666" not in sent


def test_r24_an_answer_with_trailers_has_an_end(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n").address)
    with shared.connect() as wire:
        wire.send(get(host) + get(host, "/", "Connection: close"))
        answers, is_whole = strict.responses(wire.rest(), [])
    assert is_whole
    assert [answer.body for answer in answers] == [b"hello", b"hello"]


@pytest.mark.parametrize("raw", [CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", ok(b"hello"), b"HTTP/1.1 200 OK\r\n\r\nhello"])
def test_r24_http_1_0_gets_no_chunks(shared: Proxy, backend: Make, host: str, raw: bytes) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(raw)

    app = backend(answer)
    shared.route(host, app.address)
    with shared.connect() as wire:
        wire.send(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        head = wire.head()
        assert head.all("transfer-encoding") == []
        assert wire.rest() == b"hello"
    assert app.requests[0].line == "GET / HTTP/1.1"


def test_r24_http_1_0_may_stay_when_it_asks_to(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(_echo).address)
    with shared.connect() as wire:
        for path in ("/a", "/b"):
            wire.send(f"GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n".encode())
            response = wire.response()
            assert response.text == path
            assert response.one("connection").lower() == "keep-alive"


def test_r24_connection_close_is_kept(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(_echo).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", "Connection: close") + get(host, "/late"))
        response = wire.response()
        assert response.one("connection") == "close"
        assert wire.has_ended()


def test_r24_a_backend_s_close_is_not_the_client_s(shared: Proxy, backend: Make, host: str) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(ok(b"x", "Connection: close", "Keep-Alive: timeout=1"))

    app = backend(answer)
    shared.route(host, app.address)
    with shared.connect() as wire:
        for _ in range(3):
            wire.send(get(host))
            response = wire.response()
            assert response.text == "x"
            assert response.all("connection") == response.all("keep-alive") == []
    assert app.connections == 3


def test_r24_pipelined_requests_are_answered_in_order(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(_echo).address)
    several = []
    for number in range(30):
        several.append(get(host, f"/g{number}"))
        several.append(get(host, f"/l{number}", "Content-Length: 3", method="POST") + b"abc")
        several.append(get(host, f"/c{number}", "Transfer-Encoding: chunked", method="PUT") + b"3\r\nxyz\r\n0\r\n\r\n")
    with shared.connect() as wire:
        wire.send(b"".join(several))
        for number in range(30):
            assert [wire.response().text for _ in range(3)] == [f"/g{number}", f"/l{number}abc", f"/c{number}xyz"]


def test_r24_a_bad_request_ends_a_pipeline_after_the_good_ones(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(_echo)
    shared.route(host, app.address)
    with shared.connect() as wire:
        wire.send(get(host, "/a") + get(host, "/b", "Content-Length: x") + get(host, "/c"))
        assert wire.response().text == "/a"
        assert wire.response().status == 400
        assert wire.has_ended()
    assert [request.line for request in app.requests] == ["GET /a HTTP/1.1"]


def test_r24_early_hints_reach_who_understands_them(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok(b"x")).address)
    with shared.connect() as wire:
        wire.send(get(host))
        hints = wire.head()
        assert (hints.status, hints.one("link")) == (103, "</x>")
        assert wire.response().text == "x"
    assert shared.ask(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()).status == 200


def test_r24_an_early_final_answer_ends_an_upload(shared: Proxy, backend: Make, host: str) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")

    shared.route(host, backend(answer, reads_body=False).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", "Content-Length: 8000000", method="POST"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(b"x" * 8_000_000)
        response = wire.response()
        assert (response.status, response.text) == (403, "no")
