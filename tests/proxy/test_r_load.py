"""Many at once: ends at the worst time, slow clients, idle connections, no descriptors left (R12, R14, R15, R33)."""

import contextlib
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.instance import ROOT, wait_for
from tests.proxy.process import Proxy
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
Start = Callable[..., Proxy]


def _cpu_seconds(proxy: Proxy) -> float:
    after_name = Path(f"/proc/{proxy.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / 100


def _cpu_share(proxy: Proxy, seconds: float = 1.0) -> float:
    """The share of a core that the proxy uses while nobody asks anything."""
    begun, before = time.monotonic(), _cpu_seconds(proxy)
    while time.monotonic() < begun + seconds:
        time.sleep(0.1)
    return (_cpu_seconds(proxy) - before) / (time.monotonic() - begun)


class Closing:
    """A backend that ends each connection after `most` answers: at once, or when it is asked once more."""

    def __init__(self, make: Make, most: int, when_asked: bool) -> None:
        self._most, self._when_asked = most, when_asked
        self._asked: dict[Wire, int] = {}
        self.address = make(self._answer).address

    def _answer(self, _request: Message, wire: Wire) -> bytes | None:
        count = self._asked[wire] = self._asked.get(wire, 0) + 1
        if self._when_asked:
            return None if count > self._most else ok(b"x")
        if count < self._most:
            return ok(b"x")
        # No word of it in the answer, and the end is there with it.
        with contextlib.suppress(OSError):
            wire.send(ok(b"x"))
        return None


def _statuses(proxy: Proxy, host: str, count: int) -> Counter[int]:
    found: Counter[int] = Counter()
    request = get(host)
    with proxy.connect() as wire:
        for _ in range(count):
            wire.send(request)
            found[wire.response().status] += 1
    return found


@pytest.mark.parametrize("when_asked", [False, True])
@pytest.mark.parametrize("most", [1, 7])
def test_r12_a_backend_that_ends_idle_connections_is_never_seen(
    shared: Proxy, backend: Make, host: str, most: int, when_asked: bool
) -> None:
    """4 times 2,500 GETs are the 10,000."""
    shared.route(host, Closing(backend, most, when_asked).address)
    with ThreadPoolExecutor(10) as pool:
        found = sum(pool.map(lambda _: _statuses(shared, host, 250), range(10)), Counter[int]())
    assert found == {200: 2500}


def test_r14_a_thousand_that_leave_leave_nothing_behind(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    waiting = threading.Semaphore(0)

    def answer(request: Message, wire: Wire) -> bytes | None:
        if request.line.startswith("GET /stay"):
            return ok(b"x")
        waiting.release()
        if request.line.startswith("GET /stream"):
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        with contextlib.suppress(ConnectionResetError):
            wire.rest()
        return None

    app = backend(answer, reads_body=False)
    proxy.route(host, app.address)
    assert proxy.ask(get(host, "/stay")).text == "x"
    before = proxy.descriptors()
    kinds = (get(host, "/stream"), get(host, "/wait"), get(host, "/", "Content-Length: 9", method="POST") + b"half")
    for _ in range(10):
        with ExitStack() as stack:
            for number in range(100):
                wire = stack.enter_context(proxy.connect())
                wire.send(kinds[number % 3])
            for _ in range(100):
                assert waiting.acquire(timeout=20)
    wait_for(lambda: proxy.descriptors() <= before, 4, "all descriptors to be closed")
    wait_for(lambda: all(count == 0 for _, count in proxy.seen().values()), 4, "nothing to be in flight")
    assert proxy.ask(get(host, "/stay")).text == "x"
    assert "Traceback" not in proxy.log


def _slow(number: int, host: str) -> bytes:
    """A third each: nothing at all, half a head, half a body."""
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\n".encode()
    return (b"", head, head + b"Content-Length: 100\r\n\r\nx")[number % 3]


def test_r15_600_slow_clients_at_once_slow_nobody_down(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x"), reads_body=True).address)
    with ExitStack() as stack:
        wires = [stack.enter_context(proxy.connect()) for _ in range(600)]
        for number, wire in enumerate(wires):
            wire.send(_slow(number, host))
        seconds, until = [], time.monotonic() + 2
        while time.monotonic() < until:
            for number, wire in enumerate(wires[:300:3]):
                wire.send(b"X: y\r\n" if number % 3 == 1 else b"")
            begun = time.monotonic()
            assert proxy.ask(get(host)).status == 200
            seconds.append(time.monotonic() - begun)
        # The machine itself may hold one of them up.
        assert statistics.median(seconds) < 1
        assert max(seconds) < 5


def test_r33_5000_idle_connections_disturb_nobody(start: Start, backend: Make, host: str) -> None:
    proxy = start("--max-connections-per-client", "0")
    proxy.route(host, backend(ok(b"x")).address)
    with ExitStack() as stack:
        kept = stack.enter_context(proxy.connect())
        kept.send(get(host))
        assert kept.response().text == "x"
        before = proxy.descriptors()
        with ExitStack() as idle:
            for _ in range(5000):
                idle.enter_context(proxy.connect()).send(b"\r")
            wait_for(lambda: proxy.descriptors() >= before + 5000, what="all to be accepted")
            assert _cpu_share(proxy) < 0.3
            for wire in (kept, stack.enter_context(proxy.connect())):
                begun = time.monotonic()
                wire.send(get(host))
                assert wire.response().text == "x"
                assert time.monotonic() - begun < 1
        wait_for(lambda: proxy.descriptors() < before + 100, what="the idle ones to be let go")


class Poor(Proxy):
    """A proxy that may open few files."""

    most = 100

    def launch(self) -> None:
        start = ["prlimit", f"--nofile={self.most}:{self.most}", sys.executable, "-OO", "-m", "proxy"]
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen([*start, *self.arguments()], cwd=ROOT, stdout=log, stderr=log)


@pytest.fixture
def poor(tmp_path: Path) -> Iterator[Proxy]:
    proxy = Poor(tmp_path)
    try:
        yield proxy.start()
    finally:
        if proxy.process is not None:
            proxy.process.kill()
            proxy.process.wait(20)


def test_r33_without_descriptors_traffic_goes_on_and_accepting_resumes(poor: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    poor.route(host, app.address)
    with poor.connect() as kept:
        kept.send(get(host))
        assert kept.response().text == "x"
        with ExitStack() as stack:
            # More than can be accepted; the rest waits in the kernel's queue.
            idle = [stack.enter_context(poor.connect()) for _ in range(150)]
            for wire in idle:
                wire.send(b"GET /")
            time.sleep(0.3)
            assert _cpu_share(poor) < 0.3, "a busy loop"
            for _ in range(20):
                kept.send(get(host))
                assert kept.response().text == "x"
            assert poor.log.count("\n") < 50, "the log is flooded"
        wait_for(lambda: _answers(poor, host), 5, "new connections to be accepted again")
    poor.route(f"new.{host}", app.address)
    assert poor.ask(get(f"new.{host}")).text == "x"


def _answers(proxy: Proxy, host: str) -> bool:
    try:
        return proxy.ask(get(host)).status == 200
    except (OSError, EOFError):
        return False


def test_r33_one_client_cannot_take_all_connections(start: Start, backend: Make, host: str) -> None:
    proxy = start("--max-connections-per-client", "20")
    proxy.route(host, backend(ok(b"x")).address)
    with ExitStack() as stack:
        wires = [stack.enter_context(proxy.connect()) for _ in range(60)]
        served = 0
        for wire in wires:
            with contextlib.suppress(OSError, EOFError):
                wire.send(get(host))
                served += wire.response().status == 200
        assert 15 <= served <= 20
    wait_for(lambda: _answers(proxy, host), 5, "room for new connections")
