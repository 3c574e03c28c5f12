"""What the proxy tells of its work: the counters in proxy.db."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Event

import pytest

from proxy import contract
from tests.instance import wait_for
from tests.proxy.process import Proxy, running
from tests.proxy.test_watching import UPGRADE, echo
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
Start = Callable[..., Proxy]
# Once a second as a rule.
SOON = {"proxy.watcher._REPORT_SECONDS": 0.2, "proxy.watcher._POLL_SECONDS": 0.2}


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose counters these tests read."""
    with running(tmp_path_factory.mktemp("counting"), constants=SOON) as proxy:
        yield proxy


def traffic(proxy: Proxy, host: str, requests: int = 1, prefix: str = "/") -> contract.Traffic:
    """The route's counters once so many requests are counted."""

    def look() -> contract.Traffic | None:
        with proxy.state() as state:
            found = [row for row in contract.traffic(state) if (row.host, row.path_prefix) == (host, prefix)]
        return next((row for row in found if row.requests >= requests), None)

    found = wait_for(look, 5, "the counters")
    assert sum(found.buckets) == sum(found.statuses) == found.requests == requests
    return found


def test_answers_of_a_backend_are_counted(counting: Proxy, backend: Make, host: str) -> None:
    def answer(request: Message, _wire: Wire) -> bytes:
        status = request.line.split("/")[1][:3].encode()
        return b"HTTP/1.1 %s So\r\nContent-Length: 4\r\n\r\nbody" % status

    counting.route(host, backend(answer).address)
    with counting.connect() as wire:
        for status in (200, 201, 302, 404, 500, 503, 599):
            wire.send(get(host, f"/{status}"))
            assert wire.response().status == status
    found = traffic(counting, host, 7)
    assert (found.statuses, found.bytes_in, found.bytes_out) == ((0, 2, 1, 1, 3), 0, 28)
    assert 0 < found.seconds < 5
    with counting.state() as state:
        rows = contract.minutes(state, int(time.time()) // 60 - 1, [host])
    assert (sum(row.requests for row in rows), sum(row.errors for row in rows)) == (7, 3)
    assert sum(row.bytes_out for row in rows) == 28


@pytest.mark.parametrize("status", [600, 999])
def test_a_status_of_no_class_is_passed_on_and_counted(counting: Proxy, backend: Make, host: str, status: int) -> None:
    counting.route(host, backend(b"HTTP/1.1 %d Odd\r\nContent-Length: 1\r\n\r\nx" % status).address)
    with counting.connect() as wire:
        for _ in range(2):
            wire.send(get(host))
            assert wire.response().status == status
    assert traffic(counting, host, 2).statuses == (0, 0, 0, 0, 2)
    assert "Traceback" not in counting.log


def test_how_long_requests_took_is_counted(counting: Proxy, backend: Make, host: str) -> None:
    def answer(_request: Message, _wire: Wire) -> bytes:
        time.sleep(0.12)
        return ok(b"x")

    counting.route(host, backend(answer).address)
    assert counting.ask(get(host)).text == "x"
    found = traffic(counting, host)
    assert 0.12 <= found.seconds < 5
    assert contract.quantile(found.buckets, 1) >= 0.25  # type: ignore[operator]


def test_the_proxys_own_pages_are_counted(counting: Proxy, host: str) -> None:
    counting.route(host, policy={"unavailable": "stopped"})
    counting.route(f"m.{host}", policy={"maintenance": {"message": "Later"}})
    page = counting.ask(get(host))
    assert counting.ask(get(f"m.{host}")).status == 503
    found = traffic(counting, host)
    assert (found.statuses, found.bytes_out) == ((0, 0, 0, 0, 1), len(page.body))
    assert traffic(counting, f"m.{host}").statuses == (0, 0, 0, 0, 1)


@pytest.mark.parametrize("framing", ["Content-Length: 300000", "Transfer-Encoding: chunked"])
def test_uploads_are_counted(counting: Proxy, backend: Make, host: str, framing: str) -> None:
    counting.route(host, backend(lambda request, _wire: ok(b"%d" % len(request.body))).address)
    body = b"x" * 300_000 if "Length" in framing else b"%x\r\n%s\r\n0\r\n\r\n" % (300_000, b"x" * 300_000)
    assert counting.ask(get(host, "/", framing, method="POST") + body).text == "300000"
    assert traffic(counting, host).bytes_in == 300_000


def test_compressed_answers_count_as_what_was_sent(counting: Proxy, backend: Make, host: str) -> None:
    answers = [ok(b"x" * 20_000, "Content-Type: text/html")]
    answers.append(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4e20\r\n" + b"x" * 20_000 + b"\r\n0\r\n\r\n"
    )
    app = backend(lambda request, _wire: answers["chunked" in request.line])
    counting.route(host, app.address, policy={"compress": True})
    bodies = [counting.ask(get(host, path, "Accept-Encoding: gzip")).body for path in ("/", "/chunked")]
    assert traffic(counting, host, 2).bytes_out == sum(map(len, bodies)) < 1000


def test_long_answers_are_counted(counting: Proxy, backend: Make, host: str) -> None:
    counting.route(host, backend(ok(b"x" * 2_000_000)).address)
    assert len(counting.ask(get(host)).body) == 2_000_000
    assert traffic(counting, host).bytes_out == 2_000_000


def test_who_leaves_before_the_answer_is_counted_too(counting: Proxy, backend: Make, host: str) -> None:
    gate = Event()

    def answer(_request: Message, _wire: Wire) -> bytes:
        gate.wait(20)
        return ok(b"x")

    app = backend(answer)
    counting.route(host, app.address)
    with counting.connect() as wire:
        wire.send(get(host))
        wait_for(lambda: app.requests, what="the request")
    assert traffic(counting, host).statuses == (0, 0, 0, 1, 0)
    gate.set()


@pytest.mark.parametrize("who", ["client", "backend"])
def test_a_tunnel_is_counted_as_soon_as_both_have_ended_it(counting: Proxy, backend: Make, host: str, who: str) -> None:
    def answer(request: Message, wire: Wire) -> None:
        if who == "client":
            echo(request, wire)
            return
        wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        wire.send(wire.exactly(5))

    counting.route(host, backend(answer).address)
    with counting.connect() as wire:
        wire.send(get(host, "/", *UPGRADE))
        assert wire.head().status == 101
        wire.send(b"hello")
        assert wire.exactly(5) == b"hello"
        if who == "backend":
            assert wire.has_ended()
    begun = time.monotonic()
    found = traffic(counting, host)
    assert (found.statuses, found.bytes_in, found.bytes_out) == ((1, 0, 0, 0, 0), 5, 5)
    assert time.monotonic() - begun < 2.5


def test_a_process_tells_of_its_connections(counting: Proxy, backend: Make, host: str) -> None:
    def own() -> contract.ProcessState:
        with counting.state() as state:
            return next(found for found in contract.processes(state) if found.pid == counting.pid)

    gate = Event()

    def answer(_request: Message, _wire: Wire) -> bytes:
        gate.wait(20)
        return ok(b"x")

    counting.route(host, backend(answer).address)
    before = own().accepted
    with counting.connect() as wire, counting.connect() as resting:
        wire.send(get(host))
        resting.send(b"GET")
        wait_for(lambda: (own().in_flight, own().connections) == (1, 2), 5, "the news")
        gate.set()
        assert wire.response().text == "x"
    wait_for(lambda: (own().in_flight, own().connections) == (0, 0), 5, "the end")
    assert own().accepted == before + 2
    assert abs(own().started_at - time.time()) < 300


def test_nothing_is_written_while_nothing_happens(counting: Proxy, backend: Make, host: str) -> None:
    counting.route(host, backend(ok(b"x")).address)
    counting.ask(get(host))
    traffic(counting, host)
    with closing(sqlite3.connect(counting.state_path)) as state:

        def version() -> object:
            return state.execute("PRAGMA data_version").fetchone()

        def is_at_rest() -> bool:
            before = version()
            time.sleep(0.3)
            return bool(version() == before)

        wait_for(lambda: all(is_at_rest() for _ in range(2)), 10, "rest")
        assert all(is_at_rest() for _ in range(4))


def test_a_locked_file_makes_no_minute_count_twice(start: Start, backend: Make, host: str) -> None:
    proxy = start(constants=SOON)
    proxy.route(host, backend(ok(b"x")).address)
    for _ in range(5):
        proxy.ask(get(host))
    traffic(proxy, host, 5)
    with closing(sqlite3.connect(proxy.state_path, isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        proxy.ask(get(host))
        wait_for(lambda: "cannot be written" in proxy.log, 10, "the complaint")
        locker.execute("ROLLBACK")
    proxy.ask(get(host))
    found = traffic(proxy, host, 7)
    with proxy.state() as state:
        rows = contract.minutes(state, 0, [host])
    assert sum(row.requests for row in rows) == 7
    assert sum(sum(row.buckets) for row in rows) == 7
    assert sum(row.bytes_out for row in rows) == found.bytes_out == 7


def test_a_signal_without_a_log_harms_nobody(counting: Proxy) -> None:
    os.kill(counting.pid, signal.SIGUSR1)
    assert counting.ask(get("nobody.test")).status == 404
