"""The two files away, locked or full; ends; drains."""

import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy import contract
from tests.instance import wait_for
from tests.proxy.process import Proxy
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
Start = Callable[..., Proxy]
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")


def echo(_request: Message, wire: Wire) -> None:
    wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    while piece := wire.piece():
        wire.send(piece)


def test_a_locked_state_file_stops_nobody(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    with closing(sqlite3.connect(proxy.state_path, isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        generation = proxy.route(f"more.{host}", waits=False)
        slowest = 0.0
        until = time.monotonic() + 4
        while time.monotonic() < until:
            begun = time.monotonic()
            assert proxy.ask(get(host)).text == "x"
            slowest = max(slowest, time.monotonic() - begun)
        locker.execute("ROLLBACK")
    assert slowest < 1
    wait_for(lambda: proxy.adopted() >= generation, what="the acknowledgement")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filler:
        while filler.write(b"x" * 512) == 512:
            pass


def test_a_full_disk_is_logged_once_and_serving_goes_on(
    start: Start, backend: Make, host: str, small_disk: Path
) -> None:
    proxy = start(state=small_disk / "proxy.db")
    proxy.route(host, backend(ok(b"x")).address)
    filler = small_disk / "filler"
    _fill(filler)
    generation = proxy.route(f"more.{host}", policy={"x": "y" * 50_000}, waits=False)
    wait_for(lambda: proxy.ask(get(f"more.{host}")).status == 503, what="the table to be adopted")
    assert proxy.ask(get(host)).text == "x"
    assert proxy.log.count("cannot be written") <= 1
    filler.unlink()
    wait_for(lambda: proxy.adopted() >= generation, what="the acknowledgement")


def test_a_table_that_is_gone_is_said_once(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    proxy.routes_path.unlink()
    wait_for(lambda: "routes.db" in proxy.log, what="the complaint")
    with closing(contract.open_state(proxy.state_path)) as state:
        # Each wake-up is a look at the table that is still gone.
        for _ in range(20):
            assert contract.wake(state, proxy.routes_path)
    assert proxy.ask(get(host)).text == "x"
    assert proxy.log.count("routes.db") == 1


def test_an_open_tunnel_does_not_hold_the_end_up(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(echo).address)
    with proxy.connect() as wire:
        wire.send(get(host, "/", *UPGRADE) + b"ping")
        assert wire.head().status == 101
        assert wire.exactly(4) == b"ping"
        begun = time.monotonic()
        assert proxy.end() == 0
        assert time.monotonic() - begun < 4
        assert wire.has_ended()
    assert proxy.worker() is None


def test_reports_are_no_more_than_one_a_second(start: Start, backend: Make, host: str) -> None:
    proxy = start("--drain-timeout", "20")
    app = backend(echo)
    quick = backend(ok(b"x"))
    proxy.route(host, app.address)
    with proxy.connect() as wire:
        wire.send(get(host, "/", *UPGRADE))
        assert wire.head().status == 101
        generation = proxy.unroute(host)
        proxy.route(f"q.{host}", quick.address)
        wait_for(lambda: app.address in proxy.seen(), what="the report")
        with proxy.state() as state:
            changes = _commits_during(state, lambda: [proxy.ask(get(f"q.{host}")) for _ in range(300)])
    assert changes <= 4
    wait_for(lambda: proxy.drained() >= generation, what="the drain")


def _commits_during(state: sqlite3.Connection, act: Callable[[], object]) -> int:
    begun = time.monotonic()
    changes, last = 0, state.execute("PRAGMA data_version").fetchone()
    while time.monotonic() - begun < 2:
        act()
        now = state.execute("PRAGMA data_version").fetchone()
        changes += now != last
        last = now
    return changes
