"""WebSockets and streams go through at once and stay as long as they like (R25, R26)."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.proxy.process import Proxy, running
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
)
HASTY = ("--header-timeout", "1", "--idle-timeout", "1", "--body-timeout", "1", "--first-byte-timeout", "1")


def echo(_request: Message, wire: Wire) -> None:
    wire.send(SWITCHED)
    while piece := wire.piece():
        wire.send(piece)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose every time-out but that of streams is a second."""
    with running(tmp_path_factory.mktemp("hasty"), *HASTY) as proxy:
        yield proxy


def test_r25_bytes_pass_both_ways_as_they_are(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(echo)
    shared.route(host, app.address)
    with shared.connect() as wire:
        # What a hasty client sends with the head belongs to the tunnel.
        wire.send(get(host, "/", *UPGRADE, "Origin: https://origin.test", "Sec-WebSocket-Protocol: chat") + b"early")
        head = wire.head()
        assert (head.status, head.one("upgrade"), head.one("sec-websocket-accept")) == (101, "websocket", "x")
        assert wire.exactly(5) == b"early"
        for size in (1, 100, 70_000, 1_000_000):
            content = bytes(range(256)) * (size // 256 + 1)
            sending = threading.Thread(target=wire.send, args=(content,))
            sending.start()
            assert wire.exactly(len(content)) == content
            sending.join()
    (request,) = app.requests
    assert request.one("origin") == "https://origin.test"
    assert request.one("sec-websocket-protocol") == "chat"
    assert request.one("upgrade").lower() == "websocket"
    assert request.one("connection").lower() == "upgrade"


def test_r25_what_the_backend_sends_with_its_101_arrives(shared: Proxy, backend: Make, host: str) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(SWITCHED + b"hello")
        wire.rest()

    shared.route(host, backend(answer).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", *UPGRADE))
        assert wire.head().status == 101
        assert wire.exactly(5) == b"hello"


def test_r25_the_backend_s_close_reaches_the_client(shared: Proxy, backend: Make, host: str) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(SWITCHED + b"bye")

    shared.route(host, backend(answer).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", *UPGRADE))
        assert wire.head().status == 101
        assert wire.rest() == b"bye"


def test_r25_the_client_s_close_reaches_the_backend(shared: Proxy, backend: Make, host: str) -> None:
    ended = threading.Event()

    def answer(_request: Message, wire: Wire) -> None:
        wire.send(SWITCHED)
        with contextlib.suppress(ConnectionResetError):
            wire.rest()
        ended.set()

    shared.route(host, backend(answer).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", *UPGRADE))
        assert wire.head().status == 101
    assert ended.wait(2)


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request", b"403 Forbidden", b"404 Not Found"])
def test_r25_a_refused_upgrade_is_an_answer_like_others(shared: Proxy, backend: Make, host: str, status: bytes) -> None:
    refusal = b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nno"
    shared.route(host, backend(refusal).address)
    with shared.connect() as wire:
        for fields in (UPGRADE, (), UPGRADE):
            wire.send(get(host, "/", *fields))
            response = wire.response()
            assert (response.status, response.text) == (int(status[:3]), "no")


def test_r25_a_backend_that_leaves_before_101_gives_502(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(lambda _request, _wire: None).address)
    assert shared.ask(get(host, "/", *UPGRADE)).status == 502


def _says_nothing(wire: Wire, seconds: float) -> bool:
    wire.sock.settimeout(seconds)
    try:
        wire.sock.recv(1)
    except TimeoutError:
        return True
    return False


def test_r25_a_tunnel_at_rest_stays_open(hasty: Proxy, backend: Make, host: str) -> None:
    hasty.route(host, backend(echo).address)
    with hasty.connect() as wire:
        wire.send(get(host, "/", *UPGRADE))
        assert wire.head().status == 101
        assert _says_nothing(wire, 3.2)
        wire.send(b"still there")
        assert wire.exactly(11) == b"still there"


def test_r25_a_side_that_does_not_read_costs_no_memory(shared: Proxy, backend: Make, host: str) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(SWITCHED)
        while wire.exactly(1 << 20):
            wire.send(b"x" * (1 << 20))

    shared.route(host, backend(answer).address)
    before = shared.resident_peak()
    with shared.connect() as wire:
        wire.send(get(host, "/", *UPGRADE))
        assert wire.head().status == 101
        wire.sock.settimeout(1)
        with contextlib.suppress(TimeoutError):
            for _ in range(100):
                wire.send(b"x" * (1 << 20))
    assert shared.resident_peak() - before < 20 << 20


class Events:
    """A backend whose answer goes on event by event, when the test says so."""

    def __init__(self, make: Make, head: bytes, chunks: bool) -> None:
        self._head, self._chunks = head, chunks
        self._may_send = threading.Semaphore(0)
        self.sent_at = 0.0
        self.address = make(self._answer).address

    def _answer(self, _request: Message, wire: Wire) -> None:
        wire.send(self._head)
        for number in range(5):
            if not self._may_send.acquire(timeout=20):
                return
            event = b"data: %d\n\n" % number
            self.sent_at = time.monotonic()
            wire.send(b"%x\r\n%s\r\n" % (len(event), event) if self._chunks else event)

    def go_on(self) -> None:
        self._may_send.release()


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


@pytest.mark.parametrize("policy", [{}, {"compress": True}])
@pytest.mark.parametrize("chunks", [True, False])
def test_r26_each_event_arrives_when_it_is_sent(
    shared: Proxy, backend: Make, host: str, chunks: bool, policy: dict[str, bool]
) -> None:
    events = Events(backend, EVENTS + (b"Transfer-Encoding: chunked\r\n\r\n" if chunks else b"\r\n"), chunks)
    shared.route(host, events.address, policy=policy)
    delays = []
    with shared.connect() as wire:
        wire.send(get(host, "/", "Accept: text/event-stream", "Accept-Encoding: gzip"))
        # The head comes before any event.
        assert wire.head().one("content-type") == "text/event-stream"
        for number in range(5):
            events.go_on()
            assert wire.chunk() == b"data: %d\n\n" % number
            delays.append(time.monotonic() - events.sent_at)
    assert sorted(delays)[2] < 0.1


def test_r26_a_quiet_stream_goes_on(hasty: Proxy, backend: Make, host: str) -> None:
    events = Events(backend, EVENTS + b"Transfer-Encoding: chunked\r\n\r\n", chunks=True)
    hasty.route(host, events.address)
    with hasty.connect() as wire:
        wire.send(get(host))
        assert wire.head().status == 200
        assert _says_nothing(wire, 3.2)
        wire.sock.settimeout(20)
        events.go_on()
        assert wire.chunk() == b"data: 0\n\n"


def test_r26_a_long_poll_ends_when_the_backend_says_so(start: Callable[..., Proxy], backend: Make, host: str) -> None:
    may_answer = threading.Event()

    def answer(_request: Message, _wire: Wire) -> bytes:
        assert may_answer.wait(20)
        return ok(b"news")

    proxy = start("--header-timeout", "1", "--idle-timeout", "1", "--body-timeout", "1")
    proxy.route(host, backend(answer).address)
    with proxy.connect() as wire:
        wire.send(get(host))
        assert _says_nothing(wire, 3.2)
        wire.sock.settimeout(20)
        may_answer.set()
        assert wire.response().text == "news"


def test_r26_an_upload_arrives_as_it_is_sent(shared: Proxy, backend: Make, host: str) -> None:
    arrived = threading.Semaphore(0)

    def answer(_request: Message, wire: Wire) -> bytes:
        while wire.chunk():
            arrived.release()
        return ok(b"x")

    shared.route(host, backend(answer, reads_body=False).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", "Transfer-Encoding: chunked", method="POST"))
        for _ in range(3):
            wire.send(b"5\r\nhello\r\n")
            assert arrived.acquire(timeout=5)
        wire.send(b"0\r\n\r\n")
        assert wire.response().text == "x"
