"""The proxy and its two files: killed, restarted, locked, replaced, corrupt, gone (R31)."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

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


def test_r31_a_corrupt_state_file_does_not_keep_it_from_serving(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    for content in (b"", NO_DATABASE, b"SQLite format 3\0" + b"\xff" * 8000):
        proxy.end(signal.SIGKILL)
        _delete(proxy.state_path)
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
    file.unlink(missing_ok=True)
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


SPOIL = (_delete, _overwrite, _replace, _truncate, _make_a_folder, _rename_its_tables)


def test_r31_the_last_good_table_goes_on_whatever_becomes_of_its_file(start: Start, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    proxy = start()
    for number, spoil in enumerate(SPOIL):
        proxy.route(f"{number}.{host}", app.address)
        lines = proxy.log.count("\n")
        spoil(proxy.routes_path)
        # Longer than from one look at the file to the next.
        _serves_for(1.3, proxy, f"{number}.{host}")
        assert proxy.log.count("\n") - lines < 20, proxy.log
        # The control plane comes back and writes all anew.
        if proxy.routes_path.is_dir():
            proxy.routes_path.rmdir()
        _delete(proxy.routes_path)


def _serves_for(seconds: float, proxy: Proxy, host: str) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.monotonic()
        assert _ask(proxy, host) == "x"
        assert time.monotonic() - begun < 0.5
        time.sleep(0.01)


def test_r31_a_locked_route_table_stops_nobody(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    with closing(sqlite3.connect(proxy.routes_path, isolation_level=None)) as locker:
        locker.execute("BEGIN EXCLUSIVE")
        locker.execute("UPDATE generation SET value = value + 1")
        _serves_for(1.3, proxy, host)
        locker.execute("COMMIT")
    proxy.route(f"new.{host}", "127.0.0.1:1")


BAD_ROWS = (
    """'[{"address": "nowhere"}]', '{}'""",
    """'[{"address": "127.0.0.1:99999999"}]', '{}'""",
    """'[{"address": 5}]', '{}'""",
    """'[{"x": 1}]', '{}'""",
    """'{}', '{}'""",
    """'nonsense', '{}'""",
    """'5', '{}'""",
    """'[]', '[]'""",
    """'[]', 'nonsense'""",
    """'[]', '{"app": 5}'""",
)


def test_r31_a_bad_route_gets_an_error_page_and_takes_no_other_down(start: Start, backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    with closing(sqlite3.connect(proxy.routes_path)) as routes:
        for number, row in enumerate(BAD_ROWS):
            routes.execute(f"INSERT INTO routes SELECT 'bad{number}.test', '/', {row}, value + 1 FROM generation")
        routes.execute("UPDATE generation SET value = value + 1")
        routes.commit()
    _serves_for(1.3, proxy, host)
    answers = {row: _ask(proxy, f"bad{number}.test") for number, row in enumerate(BAD_ROWS)}
    assert [row for row, answer in answers.items() if answer[:1] not in ("4", "5")] == []
    assert "Traceback" not in proxy.log


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
