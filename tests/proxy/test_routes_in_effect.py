"""What a route's policy does to paths, bodies, answers and the choice of a backend, seen from outside the process."""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import zstandard

from proxy import contract
from tests.instance import free_port, wait_for
from tests.proxy.process import Proxy, running
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
TEXT = b"".join(b"line %d of a text that is worth it\n" % n for n in range(2000))
HTML = "Content-Type: text/html"
COMPRESS = {"compress": True}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose short time-outs make it look after connections more often."""
    with running(tmp_path_factory.mktemp("quick"), "--connect-timeout", "1") as proxy:
        yield proxy


def decoder(name: str) -> Callable[[bytes], bytes]:
    if name == "gzip":
        return zlib.decompressobj(31).decompress
    return zstandard.ZstdDecompressor().decompressobj().decompress


def asked_path(request: Message, _wire: Wire) -> bytes:
    return ok(request.line.split(" ")[1].encode())


# answers


def test_response_headers_are_set_and_removed(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x", "Server: app/1", "X-Frame-Options: ALLOW", "x-frame-options: SAMEORIGIN", "X-Kept: 1"))
    policy = {"response_headers": {"set": {"X-Frame-Options": "DENY"}, "remove": ["SERVER"]}}
    shared.route(host, app.address, policy=policy)
    with shared.connect() as wire:
        for method in ("GET", "HEAD", "GET"):
            wire.send(get(host, method=method))
            answer = wire.response(has_body=method == "GET")
            assert (answer.all("x-frame-options"), answer.all("server"), answer.one("x-kept")) == (["DENY"], [], "1")
            assert answer.one("content-length") == "1"


def test_framing_is_not_the_owners_to_set(shared: Proxy, backend: Make, host: str) -> None:
    policy = {"response_headers": {"set": {"Content-Length": "0"}, "remove": ["Transfer-Encoding"]}}
    shared.route(host, backend(ok(b"x")).address, policy=policy)
    assert shared.ask(get(host)).text == "x"


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@pytest.mark.parametrize("framing", ["length", "chunked", "end"])
def test_a_compressed_answer_is_what_the_backend_sent(
    shared: Proxy, backend: Make, host: str, name: str, framing: str
) -> None:
    def answer(_request: Message, wire: Wire) -> bytes | None:
        if framing == "length":
            return ok(TEXT, HTML, 'ETag: "1"', "Accept-Ranges: bytes")
        head = f"HTTP/1.1 200 OK\r\n{HTML}\r\n".encode()
        if framing == "chunked":
            chunked = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (TEXT[:7], TEXT[7:]))
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n"
        wire.send(head + b"\r\n" + TEXT)
        return None

    shared.route(host, backend(answer).address, policy=COMPRESS)
    with shared.connect() as wire:
        for _ in range(2):
            wire.send(get(host, "/", f"Accept-Encoding: {name}"))
            got = wire.response()
            assert (got.one("content-encoding"), got.one("vary")) == (name, "Accept-Encoding")
            assert (got.all("content-length"), got.all("accept-ranges")) == ([], [])
            assert got.all("etag") in ([], ['W/"1"'])
            assert len(got.body) < len(TEXT) / 4
            assert decoder(name)(got.body) == TEXT


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_compressed_stream_arrives_piece_by_piece(shared: Proxy, backend: Make, host: str, name: str) -> None:
    gate = Event()

    def answer(_request: Message, wire: Wire) -> bytes:
        wire.send(f"HTTP/1.1 200 OK\r\n{HTML}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n".encode())
        assert gate.wait(20)
        return b"6\r\nsecond\r\n0\r\n\r\n"

    shared.route(host, backend(answer).address, policy=COMPRESS)
    decode = decoder(name)
    with shared.connect() as wire:
        wire.send(get(host, "/", f"Accept-Encoding: {name}"))
        assert wire.head().one("content-encoding") == name
        assert decode(wire.chunk()) == b"first"
        gate.set()
        assert decode(wire.chunks()) == b"second"


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_an_http_10_client_gets_a_compressed_answer_up_to_the_end(
    shared: Proxy, backend: Make, host: str, name: str
) -> None:
    shared.route(host, backend(ok(TEXT, HTML)).address, policy=COMPRESS)
    raw = f"GET / HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\nAccept-Encoding: {name}\r\n\r\n".encode()
    answer = shared.ask(raw)
    assert (answer.all("transfer-encoding"), answer.all("content-length")) == ([], [])
    assert answer.one("connection") == "close"
    assert decoder(name)(answer.body) == TEXT


@pytest.mark.parametrize(
    ("answer", "accepts", "method"),
    [
        (ok(TEXT, HTML), "gzip", "HEAD"),
        (ok(TEXT, HTML), "br", "GET"),
        (ok(TEXT, HTML), "gzip;q=0, zstd;q=0", "GET"),
        (ok(TEXT, HTML, "Content-Encoding: br"), "gzip", "GET"),
        (ok(TEXT, HTML, "Cache-Control: no-transform"), "gzip", "GET"),
        (ok(TEXT, "Content-Type: image/png"), "gzip", "GET"),
        (ok(TEXT, "Content-Type: text/event-stream"), "gzip", "GET"),
        (ok(b"short", HTML), "gzip", "GET"),
        (ok(b"", HTML), "gzip", "GET"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Type: text/html\r\n\r\n", "gzip", "GET"),
        (b"HTTP/1.1 204 No Content\r\nContent-Type: text/html\r\n\r\n", "gzip", "GET"),
    ],
)
def test_what_is_not_to_be_compressed_goes_on_as_it_came(
    shared: Proxy, backend: Make, host: str, answer: bytes, accepts: str, method: str
) -> None:
    shared.route(host, backend(answer if method == "GET" else answer.partition(TEXT)[0]).address, policy=COMPRESS)
    head, _, body = answer.partition(b"\r\n\r\n")
    with shared.connect() as wire:
        for _ in range(2):
            wire.send(get(host, "/", f"Accept-Encoding: {accepts}", method=method))
            got = wire.response(has_body=method == "GET" and b" 200 " in head)
            assert got.all("content-encoding") == re.findall("(?i)content-encoding: (.*)\r\n", f"{head.decode()}\r\n")
            assert got.all("content-length") == re.findall("(?i)content-length: (.*)\r\n", f"{head.decode()}\r\n")
            assert got.body == (b"" if method == "HEAD" else body)


# paths and bodies


@pytest.mark.parametrize(
    ("prefix", "asked", "seen"),
    [
        ("/api", "/api/x/y?a=/api/b", "/x/y?a=/api/b"),
        ("/api", "/api", "/"),
        ("/api", "/api/", "/"),
        ("/api", "/api?a=b", "/?a=b"),
        ("/api", "/api//x", "//x"),
        ("/api/", "/api/x", "/x"),
        ("/", "/x?y", "/x?y"),
        ("/api", "/apix", None),
    ],
)
def test_strip_prefix(shared: Proxy, backend: Make, host: str, prefix: str, asked: str, seen: str | None) -> None:
    shared.route(host, backend(asked_path).address, prefix=prefix, policy={"strip_prefix": True})
    answer = shared.ask(get(host, asked))
    assert (answer.status, answer.text if seen else None) == (200 if seen else 404, seen)
    absolute = shared.ask(get(host, f"http://{host}{asked}"))
    assert (absolute.status, absolute.text if seen else None) == (200 if seen else 404, seen)


def test_a_prefix_stays_unless_it_is_to_be_taken_off(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(asked_path).address, prefix="/api")
    assert shared.ask(get(host, "/api/x")).text == "/api/x"


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(lambda request, _wire: ok(request.body))
    shared.route(host, app.address, policy={"max_body_bytes": 10})
    with shared.connect() as wire:
        wire.send(get(host, "/", "Content-Length: 11", "Expect: 100-continue", method="POST"))
        assert wire.response().status == 413
        assert wire.has_ended()
    with shared.connect() as wire:
        wire.send(get(host, "/", "Content-Length: 10", "Expect: 100-continue", method="POST"))
        assert wire.head().status == 100
        wire.send(b"0123456789")
        assert wire.response().text == "0123456789"
    assert len(app.requests) == 1


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address, policy={"max_body_bytes": 10})
    with shared.connect() as wire:
        wire.send(get(host, "/", "Transfer-Encoding: chunked", method="POST") + b"6\r\n123456\r\n")
        wire.send(b"6\r\n123456\r\n")
        assert wire.response().status == 413
        assert wire.has_ended()
    assert app.requests == []


def test_a_route_has_its_own_patience(quick: Proxy, backend: Make, host: str) -> None:
    gate = Event()

    def answer(_request: Message, _wire: Wire) -> bytes:
        gate.wait(20)
        return ok(b"x")

    app = backend(answer)
    quick.route(host, app.address, policy={"first_byte_seconds": 0.5})
    quick.route(f"patient.{host}", app.address)
    with quick.connect() as hasty, quick.connect() as patient:
        hasty.send(get(host))
        patient.send(get(f"patient.{host}"))
        assert hasty.response().status == 504
        gate.set()
        assert patient.response().text == "x"
        hasty.send(get(host))
        assert hasty.response().text == "x"


# which backend


def three(backend: Make) -> list[Backend]:
    return [backend(ok(b"%d" % n)) for n in range(3)]


def test_a_visitor_keeps_the_backend_of_the_cookie(shared: Proxy, backend: Make, host: str) -> None:
    apps = three(backend)
    shared.route(host, *(app.address for app in apps), policy={"sticky": "at"})
    first = shared.ask(get(host))
    cookie = first.one("set-cookie").partition(";")[0]
    assert first.one("set-cookie").partition("; ")[2] == "Path=/; HttpOnly; SameSite=Lax"
    for _ in range(4):
        again = shared.ask(get(host, "/", f"Cookie: other=1; {cookie}"))
        assert (again.text, again.all("set-cookie")) == (first.text, [])
    assert {shared.ask(get(host)).text for _ in range(3)} == {"0", "1", "2"}
    assert shared.ask(get(host, "/", "Cookie: at=forged")).all("set-cookie")
    assert all(len(value) < 100 and ":" not in value for value in first.all("set-cookie"))


@pytest.mark.parametrize("how", ["refuses", "unpublished"])
def test_a_visitor_whose_backend_is_gone_gets_another_one(shared: Proxy, backend: Make, host: str, how: str) -> None:
    apps = three(backend)
    policy = {"sticky": "at"}
    shared.route(host, *(app.address for app in apps), policy=policy)
    first = shared.ask(get(host))
    cookie = first.one("set-cookie").partition(";")[0]
    gone = apps.pop(int(first.text))
    gone.close()
    if how == "unpublished":
        shared.route(host, *(app.address for app in apps), policy=policy)
    moved = shared.ask(get(host, "/", f"Cookie: {cookie}"))
    assert moved.text != first.text
    cookie = moved.one("set-cookie").partition(";")[0]
    assert shared.ask(get(host, "/", f"Cookie: {cookie}")).text == moved.text


def test_requests_go_round(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, *(app.address for app in three(backend)))
    assert Counter(shared.ask(get(host)).text for _ in range(9)) == {"0": 3, "1": 3, "2": 3}


def test_weights_are_shares(tmp_path: Path, backend: Make, host: str) -> None:
    one, two = backend(ok(b"one")), backend(ok(b"two"))
    with running(tmp_path) as proxy:
        backends = (contract.Backend(one.address, 3), contract.Backend(two.address, 1))
        proxy.publish_all([contract.Route(host, "/", backends)])
        assert Counter(proxy.ask(get(host)).text for _ in range(12)) == {"one": 9, "two": 3}


def test_the_least_busy_backend_is_next(shared: Proxy, backend: Make, host: str) -> None:
    gate = Event()

    def answer(request: Message, _wire: Wire) -> bytes:
        if "/wait" in request.line:
            gate.wait(20)
        return ok(b"x")

    apps = [backend(answer) for _ in range(2)]
    shared.route(host, *(app.address for app in apps), policy={"balance": "least_in_flight"})
    with ExitStack() as stack:
        waiting = [stack.enter_context(shared.connect()) for _ in range(4)]
        waiting[0].send(get(host, "/wait"))
        wait_for(lambda: any(app.requests for app in apps), what="the first request")
        busy, free = sorted(apps, key=lambda app: -len(app.requests))
        for _ in range(4):
            assert shared.ask(get(host)).status == 200
        assert (len(busy.requests), len(free.requests)) == (1, 4)
        for wire in waiting[1:]:
            wire.send(get(host, "/wait"))
        wait_for(lambda: sum(len(app.requests) for app in apps) == 8, what="all requests")
        assert sorted(_waiting(app) for app in apps) == [2, 2]
        gate.set()
        assert [wire.response().status for wire in waiting] == [200] * 4


def _waiting(app: Backend) -> int:
    return sum("/wait" in request.line for request in app.requests)


def test_a_backend_that_refuses_is_no_less_busy_one(shared: Proxy, backend: Make, host: str) -> None:
    policy: dict[str, Any] = {"balance": "least_in_flight"}
    shared.route(host, f"127.0.0.1:{free_port()}", backend(ok(b"x")).address, policy=policy)
    assert {shared.ask(get(host)).text for _ in range(8)} == {"x"}
