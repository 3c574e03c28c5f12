"""Limits of requests and of time (R15 to R19)."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.instance import wait_for
from tests.proxy.process import Proxy, running
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
Start = Callable[..., Proxy]
KIB, MIB = 1 << 10, 1 << 20
HASTY = ("--header-timeout", "1", "--idle-timeout", "1", "--body-timeout", "1")
# Time-outs are looked at once a second or so.
SLACK = 2.5


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that waits a second for anything."""
    with running(tmp_path_factory.mktemp("hasty"), *HASTY) as proxy:
        yield proxy


@pytest.fixture(scope="module", autouse=True)
def silent(hasty: Proxy) -> Iterator[Future[float]]:
    """How long a connection lived that never said a word; measured beside all other tests."""

    def live() -> float:
        begun = time.monotonic()
        with hasty.connect() as wire:
            assert wire.has_ended()
        return time.monotonic() - begun

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(live)


def _ask_big(proxy: Proxy, raw: bytes) -> int:
    """The status that answers bytes of which the proxy need not read all."""
    with proxy.connect() as wire:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(raw)
        return wire.response().status


@pytest.mark.parametrize("kib", [4, 8, 16, 31])
def test_r16_a_head_under_32_kib_is_served(shared: Proxy, backend: Make, host: str, kib: int) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address)
    value = "x" * (kib * KIB - 200)
    assert _ask_big(shared, get(host, "/", f"X: {value}")) == 200
    assert app.requests[0].one("x") == value


@pytest.mark.parametrize("kib", [33, 64, 128, 512, 1100])
def test_r16_a_head_over_32_kib_gets_431(shared: Proxy, backend: Make, host: str, kib: int) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address)
    assert _ask_big(shared, get(host, "/", f"X: {'x' * kib * KIB}")) == 431
    assert _ask_big(shared, get(host, "/", *(f"X{n}: {'x' * KIB}" for n in range(kib)))) == 431
    assert app.requests == []


@pytest.mark.parametrize(("count", "status"), [(100, 200), (200, 200), (201, 431), (1000, 431), (5000, 431)])
def test_r17_more_than_200_fields_get_431(shared: Proxy, backend: Make, host: str, count: int, status: int) -> None:
    shared.route(host, backend(ok(b"x")).address)
    assert _ask_big(shared, get(host, "/", *(f"A{n}: 1" for n in range(count - 1)))) == status


@pytest.mark.parametrize(("length", "status"), [(4, 200), (8, 200), (15.9, 200), (16.1, 414), (64, 414), (128, 414)])
def test_r18_a_request_line_over_16_kib_gets_414(
    shared: Proxy, backend: Make, host: str, length: float, status: int
) -> None:
    shared.route(host, backend(ok(b"x")).address)
    path = "/" + "x" * (int(length * KIB) - len("GET / HTTP/1.1"))
    assert _ask_big(shared, get(host, path)) == status


def test_r18_a_line_without_end_gets_414(shared: Proxy) -> None:
    assert _ask_big(shared, b"GET /" + b"x" * 17 * KIB) == 414


def test_r16_limits_are_options(start: Start, backend: Make, host: str) -> None:
    proxy = start("--max-head-bytes", "4096", "--max-fields", "10", "--max-request-line", "1000")
    proxy.route(host, backend(ok(b"x")).address)
    assert proxy.ask(get(host, "/", f"X: {'x' * 3000}")).status == 200
    assert _ask_big(proxy, get(host, "/", f"X: {'x' * 5000}")) == 431
    assert _ask_big(proxy, get(host, "/", *(f"A{n}: 1" for n in range(10)))) == 431
    assert _ask_big(proxy, get(host, "/" + "x" * 1000)) == 414


def _length(host: str, body: bytes) -> bytes:
    return get(host, "/", f"Content-Length: {len(body)}", method="POST") + body


def _chunked(host: str, body: bytes) -> bytes:
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:400], body[400:]) if p)
    return get(host, "/", "Transfer-Encoding: chunked", method="POST") + pieces + b"0\r\n\r\n"


@pytest.mark.parametrize("framed", [_length, _chunked])
def test_r19_a_body_over_the_limit_gets_413(
    start: Start, backend: Make, host: str, framed: Callable[[str, bytes], bytes]
) -> None:
    app = backend(lambda request, _wire: ok(b"%d" % len(request.body)))
    proxy = start("--max-body-bytes", "1000")
    proxy.route(host, app.address)
    proxy.route(f"less.{host}", app.address, policy={"max_body_bytes": 500})
    proxy.route(f"more.{host}", app.address, policy={"max_body_bytes": 2 * MIB})
    assert proxy.ask(framed(host, b"x" * 1000)).text == "1000"
    assert proxy.ask(framed(f"less.{host}", b"x" * 500)).text == "500"
    assert proxy.ask(framed(f"more.{host}", b"x" * MIB)).text == str(MIB)
    whole = len(app.requests)
    assert _ask_big(proxy, framed(host, b"x" * 1001)) == 413
    assert _ask_big(proxy, framed(f"less.{host}", b"x" * 501)) == 413
    assert _ask_big(proxy, framed(f"more.{host}", b"x" * (2 * MIB + 1))) == 413
    assert len(app.requests) == whole, "the app took a cut body for a whole one"


def _resident(proxy: Proxy) -> int:
    return 1024 * int(Path(f"/proc/{proxy.pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def _forget_peak(proxy: Proxy) -> int:
    Path(f"/proc/{proxy.pid}/clear_refs").write_text("5")
    return _resident(proxy)


def _drain(wire: Wire, length: int) -> None:
    left = length - len(wire.buffer)
    wire.buffer = b""
    store = bytearray(MIB)
    while left:
        got = wire.sock.recv_into(store, min(left, MIB))
        assert got
        left -= got


def test_r19_a_gib_passes_up_with_flat_memory(shared: Proxy, backend: Make, host: str) -> None:
    def answer(request: Message, wire: Wire) -> bytes:
        _drain(wire, int(request.one("content-length")))
        return ok(b"all")

    shared.route(host, backend(answer, reads_body=False).address)
    assert shared.ask(get(host, "/", "Content-Length: 1", method="PUT") + b"x").text == "all"
    before = _forget_peak(shared)
    with shared.connect() as wire:
        wire.send(get(host, "/", f"Content-Length: {1024 * MIB}", method="PUT"))
        piece = b"x" * MIB
        for _ in range(1024):
            wire.send(piece)
        assert wire.response().text == "all"
    assert shared.resident_peak() - before < 20 * MIB


def test_r19_a_reader_that_does_not_read_costs_no_memory(shared: Proxy, backend: Make, host: str) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 * MIB))
        with contextlib.suppress(OSError):
            for _ in range(200):
                wire.send(b"x" * MIB)

    shared.route(host, backend(answer).address)
    before = _forget_peak(shared)
    with shared.connect() as wire:
        wire.send(get(host))
        head = wire.head()
        # The kernel's buffers are full when nothing more arrives at the proxy.
        wait_for(lambda: _is_at_rest(shared), what="the flow to stop")
        _drain(wire, int(head.one("content-length")))
    assert shared.resident_peak() - before < 20 * MIB


def _cpu_ticks(proxy: Proxy) -> int:
    after_name = Path(f"/proc/{proxy.pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[11]) + int(after_name[12])


def _is_at_rest(proxy: Proxy) -> bool:
    before = _cpu_ticks(proxy)
    time.sleep(0.2)
    return _cpu_ticks(proxy) - before <= 1


def test_r15_a_head_that_comes_line_by_line_is_ended(hasty: Proxy, host: str) -> None:
    begun = time.monotonic()
    with hasty.connect() as wire, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        wire.sock.settimeout(0.2)
        wire.send(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n")
        while time.monotonic() < begun + 1 + SLACK:
            wire.send(b"X: y\r\n")
            with contextlib.suppress(TimeoutError):
                first = wire.piece()
                assert first == b"" or first.startswith(b"HTTP/1.1 408")
                break
    assert time.monotonic() - begun < 1 + SLACK


def test_r15_a_head_s_time_is_not_renewed_by_each_byte_of_a_line(hasty: Proxy) -> None:
    begun = time.monotonic()
    with hasty.connect() as wire, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        wire.sock.settimeout(0.2)
        wire.send(b"GET /")
        while time.monotonic() < begun + 1 + SLACK:
            wire.send(b"a")
            with contextlib.suppress(TimeoutError):
                assert wire.piece()[:12] in (b"", b"HTTP/1.1 408")
                break
    assert time.monotonic() - begun < 1 + SLACK


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_r15_a_client_silent_in_its_body_is_ended(hasty: Proxy, backend: Make, host: str, framing: str) -> None:
    ended: list[bool] = []

    def answer(_request: Message, wire: Wire) -> None:
        with contextlib.suppress(ConnectionResetError):
            wire.rest()
        ended.append(True)

    hasty.route(host, backend(answer, reads_body=False).address)
    begun = time.monotonic()
    with hasty.connect() as wire:
        wire.send(get(host, "/", framing, method="POST") + b"5\r\nhe")
        assert wire.rest()[:12] in (b"", b"HTTP/1.1 408")
    assert time.monotonic() - begun < 1 + SLACK
    wait_for(lambda: ended, 2, "the backend's connection to end")


@pytest.mark.parametrize("first", [b"\r\n", b"G"])
def test_r15_a_new_connection_that_says_almost_nothing_is_closed(hasty: Proxy, first: bytes) -> None:
    begun = time.monotonic()
    with hasty.connect() as wire:
        wire.send(first)
        assert wire.rest()[:12] in (b"", b"HTTP/1.1 408")
    assert time.monotonic() - begun < 1 + SLACK


def test_r15_a_kept_connection_at_rest_is_closed_without_a_word(hasty: Proxy, backend: Make, host: str) -> None:
    hasty.route(host, backend(ok(b"x")).address)
    with hasty.connect() as wire:
        wire.send(get(host))
        assert wire.response().text == "x"
        begun = time.monotonic()
        assert wire.has_ended()
    assert time.monotonic() - begun < 1 + SLACK


def test_r15_a_slow_but_steady_body_is_let_through(hasty: Proxy, backend: Make, host: str) -> None:
    hasty.route(host, backend(lambda request, _wire: ok(request.body)).address)
    with hasty.connect() as wire:
        wire.send(get(host, "/", "Content-Length: 10", method="POST"))
        for _ in range(10):
            wire.send(b"x")
            time.sleep(0.25)
        assert wire.response().text == "x" * 10


def test_r15_a_new_connection_that_says_nothing_is_closed(silent: Future[float]) -> None:
    """The kernel may keep it from the proxy for some seconds (TCP_DEFER_ACCEPT), where it costs next to nothing."""
    assert silent.result(20) < 1 + SLACK + 10
