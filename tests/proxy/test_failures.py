"""Backends and clients that break off, stall or send nonsense."""

import threading
import time
from collections.abc import Callable

import pytest

from tests.instance import free_port
from tests.proxy.process import Proxy
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
MEGABYTE = 1 << 20
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    "half",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        CHUNKED + b"4\r\nhalf\r\n",
        CHUNKED + b"4\r\nhalf\r\nxyz\r\n",
    ],
)
def test_half_an_answer_does_not_look_whole(start: Callable[..., Proxy], backend: Make, host: str, half: bytes) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(half)

    proxy = start()
    proxy.route(host, backend(answer).address)
    with proxy.connect() as wire:
        wire.send(get(host))
        head = wire.head()
        with pytest.raises((EOFError, ConnectionResetError)):
            wire.body(head, until_end=False)
    assert "Traceback" not in proxy.log


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_reset_backend_is_no_end_of_an_answer(shared: Proxy, backend: Make, host: str, version: str) -> None:
    may_reset = threading.Event()

    def answer(_request: Message, wire: Wire) -> None:
        wire.send(TO_THE_END + b"half")
        assert may_reset.wait(20)
        wire.reset()

    shared.route(host, backend(answer).address)
    with shared.connect() as wire:
        wire.send(f"GET / HTTP/{version}\r\nHost: {host}\r\n\r\n".encode())
        seen = b""
        while b"half" not in seen:
            seen += wire.piece()
        may_reset.set()
        if version == "1.1":
            assert b"0\r\n\r\n" not in wire.rest()
        else:
            with pytest.raises(ConnectionResetError):
                wire.rest()


def test_an_early_answer_reaches_a_client_that_still_sends(shared: Proxy, backend: Make, host: str) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")

    shared.route(host, backend(answer, reads_body=False).address)
    for _ in range(5):
        with shared.connect() as wire:
            wire.send(get(host, "/", f"Content-Length: {4 * MEGABYTE}", method="POST"))
            for _ in range(4):
                wire.send(b"x" * MEGABYTE)
            assert wire.response().text == "big"


def test_a_line_that_is_too_long_is_refused_without_its_end(shared: Proxy) -> None:
    with shared.connect() as wire:
        wire.send(b"GET /" + b"x" * 17_000)
        assert wire.response().status == 414


def test_a_refused_head_request_gets_no_body(shared: Proxy) -> None:
    with shared.connect() as wire:
        wire.send(b"HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n")
        assert wire.response(has_body=False).status == 400
        assert wire.has_ended()


def test_no_first_byte_in_time_after_an_upload(start: Callable[..., Proxy], backend: Make, host: str) -> None:
    def answer(request: Message, wire: Wire) -> None:
        wire.exactly(int(request.one("content-length")))
        assert wire.has_ended()

    proxy = start("--first-byte-timeout", "0.5")
    proxy.route(host, backend(answer, reads_body=False).address)
    with proxy.connect() as wire:
        wire.send(get(host, "/", f"Content-Length: {MEGABYTE}", method="PUT") + b"x" * MEGABYTE)
        assert wire.response().status == 504


def test_an_endless_row_of_1xx_is_ended(shared: Proxy, backend: Make, host: str) -> None:
    sent: list[int] = []

    def answer(_request: Message, wire: Wire) -> None:
        while len(sent) < 100_000:
            wire.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 10)
            sent.append(10)

    shared.route(host, backend(answer).address)
    assert shared.ask(get(host)).status == 502
    assert sum(sent) < 1_000_000


def test_nonsense_on_a_kept_connection_is_not_asked_for_twice(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(lambda request, _wire: ok(b"x") if request.line.startswith("GET /good") else b"nonsense\r\n\r\n")
    shared.route(host, app.address)
    assert shared.ask(get(host, "/good")).status == 200
    assert shared.ask(get(host, "/bad")).status == 502
    assert [request.line for request in app.requests] == ["GET /good HTTP/1.1", "GET /bad HTTP/1.1"]


def test_a_get_on_a_connection_that_just_ended_is_asked_again(shared: Proxy, backend: Make, host: str) -> None:
    seen: list[str] = []

    def answer(_request: Message, wire: Wire) -> bytes | None:
        seen.append("one")
        return None if len(seen) == 2 else ok(b"x")

    app = backend(answer)
    shared.route(host, app.address)
    assert shared.ask(get(host)).text == "x"
    assert shared.ask(get(host)).text == "x"
    assert app.connections == 2


def test_a_post_is_never_sent_twice(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(lambda request, _wire: None if request.line.startswith("POST") else ok(b"x"))
    shared.route(host, app.address)
    assert shared.ask(get(host)).text == "x"
    assert shared.ask(get(host, "/", "Content-Length: 1", method="POST") + b"a").status == 502
    assert [request.line[:4] for request in app.requests] == ["GET ", "POST"]


def test_a_refusing_backend_is_passed_over_and_named(shared: Proxy, backend: Make, host: str) -> None:
    good = backend(ok(b"x"))
    dead = f"127.0.0.1:{free_port()}"
    shared.route(host, dead, good.address)
    assert {shared.ask(get(host)).status for _ in range(6)} == {200}
    deadline = time.monotonic() + 10
    while shared.seen().get(dead, ("", 0))[0] != "unhealthy":
        assert time.monotonic() < deadline
        time.sleep(0.05)
