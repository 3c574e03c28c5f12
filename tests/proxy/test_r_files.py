"""The proxy and its two files: killed, restarted, locked, replaced, corrupt, gone (R31)."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.instance import wait_for
from tests.proxy.process import Proxy
from tests.proxy.wire import Backend, get, ok

Make = Callable[..., Backend]
Start = Callable[..., Proxy]
NO_DATABASE = b"no database at all, but long enough to look like one\n" * 1000


def _ask(proxy: Proxy, host: str) -> str:
    try:
        response = proxy.ask(get(host))
        return response.text if response.status == 200 else str(response.status)
    except (OSError, EOFError):
        return ""


def _restart(proxy: Proxy, host: str) -> tuple[str, float]:
    """Kill it, start it; what it answers once it does, and after how long."""
    proxy.end(signal.SIGKILL)
    begun = time.monotonic()
    proxy.launch()
    answer = wait_for(lambda: _ask(proxy, host), 10, "an answer after the restart")
    return answer, time.monotonic() - begun


def test_r31_killed_and_started_it_has_its_routes_with_the_panel_down(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    for number in range(200):
        proxy.route(f"n{number}.{host}", "127.0.0.1:1", waits=False)
    answer, seconds = _restart(proxy, host)
    # The first answer of all is the right one: it does not listen before it knows its routes.
    assert answer == "x"
    assert seconds < 2
    with closing(sqlite3.connect(proxy.state_path)) as state:
        assert [pid for (pid,) in state.execute("SELECT pid FROM workers")] == [proxy.pid]


@pytest.mark.parametrize("content", [b"", NO_DATABASE, b"SQLite format 3\0" + b"\xff" * 8000])
def test_r31_a_corrupt_state_file_does_not_keep_it_from_serving(
    start: Start, backend: Make, host: str, content: bytes
) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    proxy.end(signal.SIGKILL)
    for leftover in proxy.folder.glob("proxy.db-*"):
        leftover.unlink()
    proxy.state_path.write_bytes(content)
    proxy.launch()
    assert wait_for(lambda: _ask(proxy, host), 10) == "x"


def test_r31_a_lost_state_file_is_made_anew(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    proxy.end(signal.SIGKILL)
    for file in proxy.folder.glob("proxy.db*"):
        file.unlink()
    proxy.launch()
    assert wait_for(lambda: _ask(proxy, host), 10) == "x"
    generation = proxy.route(f"more.{host}", "127.0.0.1:1")
    wait_for(lambda: proxy.adopted() >= generation, 3, "the new table to be adopted")


def _delete(file: Path) -> None:
    file.unlink()
    for leftover in file.parent.glob(file.name + "-*"):
        leftover.unlink()


def _overwrite(file: Path) -> None:
    file.write_bytes(NO_DATABASE)


def _replace(file: Path) -> None:
    other = file.with_suffix(".other")
    other.write_bytes(NO_DATABASE)
    other.rename(file)


def _truncate(file: Path) -> None:
    os.truncate(file, 0)


def _make_a_folder(file: Path) -> None:
    _delete(file)
    file.mkdir()


def _rename_its_tables(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("UPDATE generation SET value = value + 1; ALTER TABLE routes RENAME TO roads")


@pytest.mark.parametrize("spoil", [_delete, _overwrite, _replace, _truncate, _make_a_folder, _rename_its_tables])
def test_r31_the_last_good_table_goes_on_whatever_becomes_of_its_file(
    start: Start, backend: Make, host: str, spoil: Callable[[Path], None]
) -> None:
    app = backend(ok(b"x"))
    proxy = start()
    proxy.route(host, app.address)
    spoil(proxy.routes_path)
    until = time.monotonic() + 2.2
    while time.monotonic() < until:
        assert _ask(proxy, host) == "x"
        time.sleep(0.02)
    assert proxy.log.count("\n") < 20
    # The control plane comes back and writes all anew.
    if proxy.routes_path.is_dir():
        shutil.rmtree(proxy.routes_path)
    _delete(proxy.routes_path) if proxy.routes_path.exists() else None
    proxy.route(f"new.{host}", app.address)
    assert _ask(proxy, f"new.{host}") == "x"


def test_r31_a_locked_route_table_stops_nobody(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    with closing(sqlite3.connect(proxy.routes_path, isolation_level=None)) as locker:
        locker.execute("BEGIN EXCLUSIVE")
        locker.execute("UPDATE generation SET value = value + 1")
        slowest, until = 0.0, time.monotonic() + 2.2
        while time.monotonic() < until:
            begun = time.monotonic()
            assert _ask(proxy, host) == "x"
            slowest = max(slowest, time.monotonic() - begun)
        locker.execute("COMMIT")
    assert slowest < 0.5
    proxy.route(f"new.{host}", "127.0.0.1:1")


@pytest.mark.parametrize(
    "row",
    [
        "'[{\"address\": \"nowhere\"}]', '{}'",
        "'[]', '[]'",
        "'nonsense', '{}'",
        "'[{\"x\": 1}]', '{}'",
        "'[]', '{\"app\": 5}'",
    ],
)
def test_r31_one_bad_route_does_not_take_the_others_down(start: Start, backend: Make, host: str, row: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    with closing(sqlite3.connect(proxy.routes_path)) as routes:
        routes.execute(f"INSERT INTO routes VALUES ('bad.test', '/', {row})")
        routes.execute("UPDATE generation SET value = value + 1")
        routes.commit()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert _ask(proxy, host) == "x"
        assert _ask(proxy, "bad.test")[:1] in ("4", "5")
    assert proxy.log.count("\n") < 20


def test_r31_started_without_any_table_it_waits_for_one(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    assert _ask(proxy, host) == "404"
    proxy.route(host, backend(ok(b"x")).address)
    assert _ask(proxy, host) == "x"


def test_r31_started_with_a_corrupt_table_it_takes_the_next_good_one(start: Start, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    proxy = start()
    proxy.route(host, app.address)
    proxy.end(signal.SIGKILL)
    _delete(proxy.routes_path)
    _overwrite(proxy.routes_path)
    proxy.launch()
    wait_for(lambda: _ask(proxy, host), 5, "any answer")
    _delete(proxy.routes_path)
    proxy.publish(waits=False)
    wait_for(lambda: _ask(proxy, host) == "x", 3, "the routes to be adopted")
