"""Backends that refuse, break off, lie or say nothing; clients that leave (R11, R13, R14)."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.instance import free_port
from tests.proxy.process import Proxy
from tests.proxy.recorder import Recorders, converse
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
Start = Callable[..., Proxy]
MIB = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"


def _dead() -> str:
    return f"127.0.0.1:{free_port()}"


def test_r11_a_refused_connection_gives_502_at_once(shared: Proxy, host: str) -> None:
    shared.route(host, _dead())
    begun = time.monotonic()
    assert shared.ask(get(host)).status == 502
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_r11_another_replica_is_tried_when_one_refuses(shared: Proxy, backend: Make, host: str, method: str) -> None:
    app = backend(lambda request, _wire: ok(request.body))
    shared.route(host, _dead(), app.address)
    for _ in range(4):
        request = get(host, "/", "Content-Length: 5", method=method) + b"hello"
        assert shared.ask(request).text == "hello"
    assert len(app.requests) == 4


def test_r11_a_body_still_to_come_reaches_the_other_replica_too(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(lambda request, _wire: ok(b"%d" % len(request.body)))
    shared.route(host, _dead(), app.address)
    for _ in range(2):
        with shared.connect() as wire:
            wire.send(get(host, "/", f"Content-Length: {MIB}", method="POST"))
            wire.send(b"x" * MIB)
            assert wire.response().text == str(MIB)


def test_r11_a_request_that_was_sent_is_never_repeated_elsewhere(shared: Proxy, backend: Make, host: str) -> None:
    first, second = backend(lambda _request, _wire: None), backend(lambda _request, _wire: None)
    shared.route(host, first.address, second.address)
    for method, status in (("POST", 502), ("PATCH", 502)):
        before = len(first.requests) + len(second.requests)
        assert shared.ask(get(host, "/", "Content-Length: 1", method=method) + b"x").status == status
        assert len(first.requests) + len(second.requests) == before + 1


def test_r11_a_post_on_a_connection_that_just_ended_is_not_repeated(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(lambda request, _wire: ok(b"x") if request.line.startswith("GET") else None)
    shared.route(host, app.address)
    assert shared.ask(get(host)).text == "x"
    assert shared.ask(get(host, "/", "Content-Length: 1", method="POST") + b"x").status == 502
    assert [request.line.split(" ")[0] for request in app.requests] == ["GET", "POST"]


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """A listener whose queue is full: connecting hangs, as at a host that drops packets, until somebody accepts."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener


def test_r11_a_backend_that_cannot_be_reached_gives_an_answer_in_time(
    start: Start, host: str, deaf: socket.socket
) -> None:
    proxy = start("--connect-timeout", "1")
    proxy.route(host, f"127.0.0.1:{deaf.getsockname()[1]}")
    begun = time.monotonic()
    assert proxy.ask(get(host)).status in (502, 504)
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize(
    ("framing", "pieces"),
    [
        ("Content-Length: 40", (b"GET /smuggled HTTP/1.1\r\n", b"Host: a.test\r\n\r\n")),
        ("Transfer-Encoding: chunked", (b"5\r\nhello\r\n", b"5\r\nworld\r\n0\r\n\r\n")),
    ],
)
def test_r20_a_body_waits_for_its_head_while_the_backend_is_connected_to(
    shared: Proxy, host: str, deaf: socket.socket, framing: str, pieces: tuple[bytes, ...]
) -> None:
    shared.route(host, f"127.0.0.1:{deaf.getsockname()[1]}")
    with shared.connect() as wire, ExitStack() as stack:
        wire.send(get(host, "/", framing, method="POST"))
        for piece in pieces:
            time.sleep(0.1)
            wire.send(piece)
        deaf.settimeout(10)
        # The fillers say nothing; the proxy's connection comes when there is room for it.
        sent = b""
        while not sent:
            backend, _ = deaf.accept()
            accepted = Wire(stack.enter_context(backend))
            accepted.sock.settimeout(1.5)
            with contextlib.suppress(TimeoutError):
                sent = accepted.piece()
        assert sent.startswith(b"POST / HTTP/1.1\r\n")
        accepted.buffer = sent
        request = accepted.request()
        assert request.one("host") == host
        assert request.body == (b"helloworld" if "chunked" in framing else b"".join(pieces))


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_r20_a_large_body_never_overtakes_its_head(shared: Proxy, host: str, framing: str) -> None:
    content = b"x" * 100_000
    body = content if "Length" in framing else b"186a0\r\n" + content + b"\r\n0\r\n\r\n"
    raw = get(host, "/", framing, method="POST") + body
    with closing(Recorders()) as recorders, ThreadPoolExecutor(16) as pool:
        address, record = recorders.add()
        shared.route(host, address)
        answers = list(pool.map(lambda _: converse(shared.port, raw)[:12], range(200)))
        assert record.unsafe() == []
        assert set(answers) == {b"HTTP/1.1 200"}


def test_r13_a_backend_that_accepts_and_says_nothing_gives_504(start: Start, backend: Make, host: str) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.rest()

    proxy = start("--first-byte-timeout", "1")
    app = backend(answer)
    proxy.route(host, app.address)
    proxy.route(f"less.{host}", app.address, policy={"first_byte_seconds": 0.5})
    for name in (host, f"less.{host}"):
        begun = time.monotonic()
        assert proxy.ask(get(name)).status == 504
        assert time.monotonic() - begun < 3.5
    assert len(app.requests) == 2, "a request that was sent is not repeated"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\xff\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"<html>hello</html>\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        OK,
        OK + b"X: a\0b\r\n\r\n",
        OK + b"X: a\rSet-Cookie: b\r\n\r\n",
        OK + b"X : a\r\n\r\n",
        OK + b"X\r\n\r\n",
        OK + b": a\r\n\r\n",
        OK + b"X Y: a\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        OK + b"Content-Length: -5\r\n\r\nhello",
        OK + b"Content-Length: +5\r\n\r\nhello",
        OK + b"Content-Length: 5 5\r\n\r\nhello",
        OK + b"Content-Length: x\r\n\r\nhello",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked, identity\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_r13_what_is_no_answer_gives_502(shared: Proxy, backend: Make, host: str, raw: bytes) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(raw)

    app = backend(answer)
    shared.route(host, app.address)
    with shared.connect() as wire:
        wire.send(get(host))
        response = wire.response()
        assert response.status == 502
        assert response.body
        # The client's own connection is none the worse.
        wire.send(get(host))
        assert wire.response().status == 502
    assert len(app.requests) in (2, 4), "a request may be repeated once where nothing was heard"


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"Content-Length: 100\r\n\r\nhalf",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloxx0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("resets", [False, True])
def test_r13_a_cut_answer_never_looks_whole(shared: Proxy, backend: Make, host: str, raw: bytes, resets: bool) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(raw)
        if resets:
            wire.reset()

    shared.route(host, backend(answer).address)
    with shared.connect() as wire:
        wire.send(get(host))
        with contextlib.suppress(EOFError, ConnectionResetError):
            # A reset may overtake the head; then nothing was begun, and 502 is the truth.
            head = wire.head()
            if head.status == 502 and (resets or b"chunked" in raw):
                return
            wire.body(head, until_end=False)
            pytest.fail("a cut answer looks whole")


def test_r13_a_head_of_100_mib_gives_502_and_costs_no_memory(shared: Proxy, backend: Make, host: str) -> None:
    sent: list[int] = []

    def answer(_request: Message, wire: Wire) -> None:
        wire.send(OK)
        for _ in range(1600):
            wire.send(b"X: " + b"y" * 65_000 + b"\r\n")
            sent.append(1)

    shared.route(host, backend(answer).address)
    Path(f"/proc/{shared.pid}/clear_refs").write_text("5")
    before = shared.resident_peak()
    assert shared.ask(get(host)).status == 502
    assert shared.resident_peak() - before < 20 * MIB
    assert len(sent) < 800


def test_r13_a_flood_of_1xx_is_ended(shared: Proxy, backend: Make, host: str) -> None:
    sent: list[int] = []

    def answer(_request: Message, wire: Wire) -> None:
        while len(sent) < 100_000:
            wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 10)
            sent.append(10)

    shared.route(host, backend(answer).address)
    with shared.connect() as wire:
        wire.send(get(host))
        interim = 0
        while (head := wire.head()).status < 200:
            interim += 1
        assert head.status == 502
    assert interim < 1000
    assert len(sent) < 100_000


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\nHTTP/1.1"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("HEAD", OK + b"Content-Length: 4\r\n\r\nevil"),
        ("GET", OK + b"Content-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        (
            "GET",
            OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n" + OK + b"Content-Length: 4\r\n\r\nevil",
        ),
    ],
)
def test_r13_bytes_after_an_answer_are_no_answer_to_the_next(
    shared: Proxy, backend: Make, host: str, method: str, raw: bytes
) -> None:
    app = backend(lambda request, _wire: raw if " /first " in request.line else ok(b"next"))
    shared.route(host, app.address)
    with shared.connect() as one, shared.connect() as other:
        one.send(get(host, "/first", method=method))
        first = one.response(has_body=raw.startswith(OK) and method == "GET")
        assert first.text in ("", "good")
        for wire in (one, other, one):
            wire.send(get(host, "/next"))
            assert wire.response().text == "next"


@pytest.mark.parametrize("path", ["/stream", "/wait"])
def test_r14_a_client_that_leaves_ends_the_backend_s_work(shared: Proxy, backend: Make, host: str, path: str) -> None:
    asked, ended = threading.Event(), threading.Event()

    def answer(request: Message, wire: Wire) -> None:
        if " /stream " in request.line:
            wire.send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        asked.set()
        with contextlib.suppress(ConnectionResetError):
            wire.rest()
        ended.set()

    shared.route(host, backend(answer).address)
    with shared.connect() as wire:
        wire.send(get(host, path))
        assert asked.wait(10)
    assert ended.wait(2)


@pytest.mark.parametrize("resets", [False, True])
def test_r14_half_an_upload_is_never_a_whole_one(shared: Proxy, backend: Make, host: str, resets: bool) -> None:
    got: list[bytes] = []
    begun, ended = threading.Event(), threading.Event()

    def answer(_request: Message, wire: Wire) -> None:
        begun.set()
        with contextlib.suppress(ConnectionResetError):
            got.append(wire.rest())
        ended.set()

    shared.route(host, backend(answer, reads_body=False).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n")
        assert begun.wait(10)
        if resets:
            wire.reset()
    assert ended.wait(2)
    assert b"0\r\n\r\n" not in b"".join(got)


def test_r14_a_client_that_leaves_while_much_is_sent_ends_it(shared: Proxy, backend: Make, host: str) -> None:
    ended = threading.Event()

    def answer(_request: Message, wire: Wire) -> None:
        wire.send(OK + b"Content-Length: 10000000000\r\n\r\n")
        try:
            while True:
                wire.send(b"x" * MIB)
        except OSError:
            ended.set()

    shared.route(host, backend(answer).address)
    with shared.connect() as wire:
        wire.send(get(host))
        wire.exactly(3 * MIB)
    assert ended.wait(2)
