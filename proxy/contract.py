"""What the control plane tells the proxy, and what the proxy answers: two SQLite files and a datagram.

`routes.db` is written by the control plane and only read by proxies; it is derived, so another
schema version means: drop, recreate, republish. `proxy.db` is written by proxies only. Truth is the
generation number in `routes.db`; the datagram merely says "look now", so a lost one costs at most
the reader's next safety poll.
"""

import contextlib
import hashlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy import counters
from proxy.counters import (
    LATENCY_BOUNDS,
    Minute,
    ProcessState,
    Traffic,
    add_minutes,
    minutes,
    processes,
    quantile,
    report_process,
    report_traffic,
    traffic,
)

__all__ = [
    "LATENCY_BOUNDS", "ROUTES_VERSION", "STATE_VERSION", "Backend", "BackendState", "CertificateFiles", "Changes",
    "Minute", "ProcessState", "Route", "Snapshot", "Traffic", "Worker", "acknowledge", "add_minutes", "backend_states",
    "forget", "forget_dead", "generation", "minutes", "open_routes", "open_state", "parse_route", "processes",
    "publish", "quantile", "read", "read_changes", "report", "report_process", "report_traffic", "traffic", "wake",
    "wake_socket", "workers",
]  # fmt: skip

ROUTES_VERSION = 2
STATE_VERSION = 2

_ROUTES_SCHEMA = """
CREATE TABLE generation (id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL, first INTEGER NOT NULL);
CREATE TABLE routes (
    host TEXT NOT NULL, path_prefix TEXT NOT NULL, backends TEXT NOT NULL, policy TEXT NOT NULL,
    changed INTEGER NOT NULL, PRIMARY KEY (host, path_prefix)) WITHOUT ROWID;
CREATE INDEX routes_changed ON routes (changed);
CREATE TABLE removed (
    host TEXT NOT NULL, path_prefix TEXT NOT NULL, changed INTEGER NOT NULL,
    PRIMARY KEY (host, path_prefix)) WITHOUT ROWID;
CREATE INDEX removed_changed ON removed (changed);
CREATE TABLE certificates (host TEXT PRIMARY KEY, chain_path TEXT NOT NULL, key_path TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE challenges (token TEXT PRIMARY KEY, key_authorization TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO generation VALUES (1, {generation}, {generation});
"""
_STATE_SCHEMA = f"""
CREATE TABLE workers (
    pid INTEGER PRIMARY KEY, adopted INTEGER NOT NULL, drained INTEGER NOT NULL, seen_at REAL NOT NULL);
CREATE TABLE backends (
    pid INTEGER NOT NULL, address TEXT NOT NULL, health TEXT NOT NULL, in_flight INTEGER NOT NULL,
    PRIMARY KEY (pid, address)) WITHOUT ROWID;
{counters.SCHEMA}"""


@dataclass(frozen=True, slots=True)
class Backend:
    """One address that requests may be sent to: `host:port` with an IP address as host."""

    address: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """Requests for `host` (exact, `*.parent`, or `*` for the default) under `path_prefix`.

    `policy` is a JSON object. Keys known so far: `app` (name, for error pages) and `unavailable`
    (why there are no backends: `stopped`, `starting`).
    """

    host: str
    path_prefix: str = "/"
    backends: tuple[Backend, ...] = ()
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files (0600) that serve `host` (exact or `*.parent`)."""

    host: str
    chain_path: str
    key_path: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a proxy serves, at one generation."""

    routes: tuple[Route, ...] = ()
    certificates: tuple[CertificateFiles, ...] = ()
    challenges: tuple[tuple[str, str], ...] = ()
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """What one live proxy process serves: the generation it adopted and the one it drained up to."""

    pid: int
    adopted: int
    drained: int


@dataclass(frozen=True, slots=True)
class BackendState:
    """How one proxy process sees a backend; `health` is healthy, unhealthy, draining or unknown."""

    pid: int
    address: str
    health: str
    in_flight: int


def open_routes(path: str | Path, read_only: bool = False) -> sqlite3.Connection:
    """Open `routes.db`; a writer makes or remakes it when its schema is not ours.

    Raises `sqlite3.OperationalError` for a reader when the file is not there (yet).
    """
    return _open(path, ROUTES_VERSION, None if read_only else _ROUTES_SCHEMA)


def open_state(path: str | Path, read_only: bool = False, wait_seconds: float = 5) -> sqlite3.Connection:
    """Open `proxy.db`; a proxy makes or remakes it when its schema is not ours.

    A lock is waited for `wait_seconds`, here and later; the wait stops the whole process.
    """
    return _open(path, STATE_VERSION, None if read_only else _STATE_SCHEMA, wait_seconds)


def _open(path: str | Path, version: int, schema: str | None, wait_seconds: float = 5) -> sqlite3.Connection:
    mode = "rw" if schema is None else "rwc"
    # A reader of a WAL file needs its shared memory file, hence "rw"; query_only keeps it a reader.
    connection = sqlite3.connect(
        f"file:{_quote(path)}?mode={mode}", uri=True, timeout=wait_seconds, isolation_level=None
    )
    if schema is None:
        connection.execute("PRAGMA query_only=1")
        return connection
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found != version:
        _recreate(connection, schema, version)
    connection.execute("COMMIT")
    return connection


def _quote(path: str | Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _recreate(connection: sqlite3.Connection, schema: str, version: int) -> None:
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        connection.execute(f'DROP TABLE "{table}"')
    # Generations must never repeat for a proxy that outlives the file: start from the clock.
    for statement in schema.format(generation=int(time.time() * 1000)).split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={version}")


def publish(connection: sqlite3.Connection, snapshot: Snapshot) -> int:
    """Make the tables equal `snapshot` in one transaction and give the generation that serves it.

    Equal content makes no new generation, and only rows that differ are written; each route's row says in which
    generation it changed, so that a reader takes over no more than what is new to it.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        current = generation(connection)
        routes: _Rows = {
            (r.host, r.path_prefix): (_backends_json(r.backends), _json(r.policy)) for r in snapshot.routes
        }
        changed = _replace_routes(connection, routes, current + 1)
        certificates: _Rows = {(c.host,): (c.chain_path, c.key_path) for c in snapshot.certificates}
        changed |= _replace(connection, "certificates", "host", certificates)
        challenges: _Rows = {(token,): (answer,) for token, answer in snapshot.challenges}
        changed |= _replace(connection, "challenges", "token", challenges)
        if changed:
            current += 1
            connection.execute("UPDATE generation SET value = ?", (current,))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return current


_Rows = Mapping[tuple[str, ...], tuple[str, ...]]


def _replace_routes(connection: sqlite3.Connection, wanted: _Rows, changed: int) -> bool:
    rows = connection.execute("SELECT host, path_prefix, backends, policy FROM routes")
    gone, new = _differences({row[:2]: row[2:] for row in rows}, wanted)
    connection.executemany("DELETE FROM routes WHERE host = ? AND path_prefix = ?", gone)
    connection.executemany("INSERT OR REPLACE INTO removed VALUES (?, ?, ?)", [(*key, changed) for key in gone])
    connection.executemany("INSERT OR REPLACE INTO routes VALUES (?, ?, ?, ?, ?)", [(*row, changed) for row in new])
    connection.executemany("DELETE FROM removed WHERE host = ? AND path_prefix = ?", [row[:2] for row in new])
    return bool(gone or new)


def _replace(connection: sqlite3.Connection, table: str, key: str, wanted: _Rows) -> bool:
    rows = connection.execute(f"SELECT * FROM {table}")  # noqa: S608 - our own names
    gone, new = _differences({row[:1]: row[1:] for row in rows}, wanted)
    connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", gone)  # noqa: S608
    if new:
        marks = ", ".join("?" * len(new[0]))
        connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", new)  # noqa: S608
    return bool(gone or new)


def _differences(present: _Rows, wanted: _Rows) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The keys that go, and the whole rows that are new or changed."""
    gone = [key for key in present if key not in wanted]
    return gone, [(*key, *values) for key, values in wanted.items() if present.get(key) != values]


def _backends_json(backends: Iterable[Backend]) -> str:
    return _json([{"address": b.address, "weight": b.weight} for b in backends])


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def generation(connection: sqlite3.Connection) -> int:
    """The number that grows with every change of content."""
    (value,) = connection.execute("SELECT value FROM generation").fetchone()
    return int(value)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new in `routes.db` since another generation; `is_whole` when that is all there is.

    `routes` are `(host, path_prefix, text)` with the JSON texts of backends and policy, one after the other; `removed`
    are `(host, path_prefix)`.
    """

    generation: int
    is_whole: bool
    routes: list[tuple[str, str, str]]
    removed: list[tuple[str, str]]
    certificates: list[tuple[str, str, str]]
    challenges: list[tuple[str, str]]


def read_changes(connection: sqlite3.Connection, since: int) -> Changes:
    """What changed after the generation `since`, in one read transaction, unparsed: of ten thousand few are needed.

    Everything, when the file does not go back to `since`.
    """
    connection.execute("BEGIN")
    try:
        value, first = connection.execute("SELECT value, first FROM generation").fetchone()
        is_whole = not first <= since <= value
        after = (0 if is_whole else since,)
        return Changes(
            int(value),
            is_whole,
            connection.execute(
                "SELECT host, path_prefix, backends || policy FROM routes WHERE changed > ?", after
            ).fetchall(),
            connection.execute("SELECT host, path_prefix FROM removed WHERE changed > ?", after).fetchall(),
            connection.execute("SELECT host, chain_path, key_path FROM certificates").fetchall(),
            connection.execute("SELECT token, key_authorization FROM challenges").fetchall(),
        )
    finally:
        connection.execute("COMMIT")


_CHANGED_ROUTES = "SELECT host, path_prefix, backends || policy FROM routes WHERE changed > ?"


def parse_route(text: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Backends (`address`, `weight`) and policy out of a route's text. Raises `ValueError`."""
    backends, end = _DECODER.raw_decode(text)
    policy = json.loads(text[end:])
    if not isinstance(backends, list) or not isinstance(policy, dict):
        raise ValueError("it must be a list of backends and an object")
    return backends, policy


_DECODER = json.JSONDecoder()


def read(connection: sqlite3.Connection) -> Snapshot:
    """The whole table in one read transaction: never half of a change."""
    found = read_changes(connection, -1)
    routes = []
    for host, prefix, text in found.routes:
        backends, policy = parse_route(text)
        routes.append(Route(host, prefix, tuple(Backend(**b) for b in backends), policy))
    certificates = tuple(CertificateFiles(*row) for row in found.certificates)
    return Snapshot(tuple(routes), certificates, tuple(found.challenges), found.generation)


def acknowledge(state: sqlite3.Connection, pid: int, adopted: int, drained: int) -> None:
    """Say which generation the proxy process `pid` serves, and up to which one nothing old is in flight."""
    state.execute("INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?)", (pid, adopted, drained, time.time()))


def forget(state: sqlite3.Connection, pid: int) -> None:
    """Remove what the proxy process `pid` said; it is ending, or a new one found it dead.

    What it counted stays in the sums of `traffic`.
    """
    counters.retire(state, pid)
    state.execute("DELETE FROM workers WHERE pid = ?", (pid,))
    state.execute("DELETE FROM backends WHERE pid = ?", (pid,))


def forget_dead(state: sqlite3.Connection, routes_path: str | Path) -> None:
    """Remove what proxy processes said that did not live to take it back."""
    alive = {worker.pid for worker in wake(state, routes_path)}
    for worker in workers(state):
        if worker.pid not in alive:
            forget(state, worker.pid)


def report(state: sqlite3.Connection, pid: int, backends: Iterable[BackendState]) -> None:
    """Replace what the proxy process `pid` last said of its backends."""
    state.execute("BEGIN IMMEDIATE")
    state.execute("DELETE FROM backends WHERE pid = ?", (pid,))
    state.executemany(
        "INSERT INTO backends VALUES (?, ?, ?, ?)", [(b.pid, b.address, b.health, b.in_flight) for b in backends]
    )
    state.execute("COMMIT")


def backend_states(state: sqlite3.Connection) -> list[BackendState]:
    """What all proxy processes last said of their backends."""
    return [BackendState(*row) for row in state.execute("SELECT pid, address, health, in_flight FROM backends")]


def workers(state: sqlite3.Connection) -> list[Worker]:
    """What all proxy processes acknowledged last, dead ones included (`wake` tells who lives)."""
    return [Worker(*row) for row in state.execute("SELECT pid, adopted, drained FROM workers")]


def wake_socket(routes_path: str | Path) -> socket.socket:
    """The datagram socket on which this process hears that `routes.db` changed (non-blocking)."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    listener.bind(_wake_address(routes_path, os.getpid()))
    return listener


def wake(state: sqlite3.Connection, routes_path: str | Path) -> list[Worker]:
    """Tell every proxy process to look at `routes.db` now, and give those that are alive.

    A dead process has no socket any more, so the same datagram tells who lives.
    """
    alive = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        for worker in workers(state):
            with contextlib.suppress(ConnectionRefusedError):
                # A full queue (EAGAIN) means that it has been told already.
                with contextlib.suppress(BlockingIOError):
                    sender.sendto(b"!", _wake_address(routes_path, worker.pid))
                alive.append(worker)
    return alive


def _wake_address(routes_path: str | Path, pid: int) -> str:
    # An abstract address (unix(7)): no file to go stale, no limit from a deep data folder.
    digest = hashlib.sha256(os.path.realpath(routes_path).encode()).hexdigest()[:16]
    return f"\0rivetr-proxy-{digest}-{pid}"
