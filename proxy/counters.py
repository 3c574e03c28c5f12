"""What the proxy counts, as three tables of `proxy.db`: totals per route, minutes for charts, the processes themselves.

Import these names from `proxy.contract`, the door to both files. A route is known by its own `host` and
`path_prefix` (those of `contract.Route`), never by what a visitor sent, so that nobody can fill the tables.
"""

import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

# Seconds. A bucket counts the requests that took at most its bound and longer than the one before:
# `buckets[bisect.bisect_left(LATENCY_BOUNDS, seconds)] += 1`.
LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, math.inf)
NO_LATENCIES = (0,) * len(LATENCY_BOUNDS)
MINUTES_KEPT = 24 * 60

SCHEMA = """
CREATE TABLE traffic (
    pid INTEGER NOT NULL, host TEXT NOT NULL, path_prefix TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (pid, host, path_prefix)) WITHOUT ROWID;
CREATE TABLE minutes (
    minute INTEGER NOT NULL, host TEXT NOT NULL, path_prefix TEXT NOT NULL, requests INTEGER NOT NULL,
    errors INTEGER NOT NULL, bytes_out INTEGER NOT NULL, buckets TEXT NOT NULL,
    PRIMARY KEY (minute, host, path_prefix)) WITHOUT ROWID;
CREATE TABLE processes (pid INTEGER PRIMARY KEY, data TEXT NOT NULL);
"""
# Whose pid no process has: what processes that ended had counted, so that totals never shrink.
_ENDED = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counters of one route; `statuses` are answers 1xx to 5xx, `seconds` the sum of all requests' time.

    `buckets` count requests by `LATENCY_BOUNDS`, each for itself (not cumulative). A request counts when it ends.
    """

    host: str
    path_prefix: str
    requests: int = 0
    statuses: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    buckets: tuple[int, ...] = NO_LATENCIES


@dataclass(frozen=True, slots=True)
class Minute:
    """What one route did in the minute that began at unix time `minute * 60`; `errors` are answers 5xx."""

    minute: int
    host: str
    path_prefix: str
    requests: int
    errors: int
    bytes_out: int
    buckets: tuple[int, ...] = NO_LATENCIES


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One proxy process now: open connections, requests in flight, connections accepted since `started_at` (unix)."""

    pid: int
    connections: int
    in_flight: int
    accepted: int
    started_at: float


def report_traffic(state: sqlite3.Connection, pid: int, rows: Iterable[Traffic]) -> None:
    """Replace what the proxy process `pid` last said of the routes in `rows`: its counters since it began.

    Routes that are not in `rows` stay as they are, so only those that changed need be given.
    """
    with _writing(state):
        state.executemany(
            "INSERT OR REPLACE INTO traffic VALUES (?, ?, ?, ?)",
            [(pid, row.host, row.path_prefix, _traffic_json(row)) for row in rows],
        )


def traffic(state: sqlite3.Connection) -> list[Traffic]:
    """Each route's counters, summed over all proxy processes, those that ended included."""
    found: dict[tuple[str, str], Traffic] = {}
    for host, path_prefix, data in state.execute("SELECT host, path_prefix, data FROM traffic"):
        row = _traffic_of(host, path_prefix, data)
        known = found.get((host, path_prefix))
        found[host, path_prefix] = row if known is None else _sum(known, row)
    return list(found.values())


def add_minutes(state: sqlite3.Connection, rows: Iterable[Minute]) -> None:
    """Add `rows` to what all proxy processes counted in those minutes; what is older than a day goes.

    `rows` are what is new since the last call, not the whole minute so far.
    """
    with _writing(state):
        for row in rows:
            key = (row.minute, row.host, row.path_prefix)
            before = state.execute(
                "SELECT buckets FROM minutes WHERE minute = ? AND host = ? AND path_prefix = ?", key
            ).fetchone()
            buckets = row.buckets if before is None else _added(json.loads(before[0]), row.buckets)
            state.execute(
                "INSERT INTO minutes VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " requests = requests + excluded.requests, errors = errors + excluded.errors,"
                " bytes_out = bytes_out + excluded.bytes_out, buckets = excluded.buckets",
                (*key, row.requests, row.errors, row.bytes_out, json.dumps(buckets)),
            )
        state.execute("DELETE FROM minutes WHERE minute < ?", (int(time.time()) // 60 - MINUTES_KEPT,))


def minutes(state: sqlite3.Connection, since_minute: int, hosts: Sequence[str] = ()) -> list[Minute]:
    """The minutes from `since_minute` on, oldest first, of all routes or those of `hosts`.

    Minutes without requests have no row.
    """
    where = f" AND host IN ({', '.join('?' * len(hosts))})" if hosts else ""
    query = f"SELECT * FROM minutes WHERE minute >= ?{where} ORDER BY minute"  # noqa: S608 - only question marks
    return [
        Minute(minute, host, path_prefix, requests, errors, bytes_out, tuple(json.loads(buckets)))
        for minute, host, path_prefix, requests, errors, bytes_out, buckets in state.execute(
            query, (since_minute, *hosts)
        )
    ]


def report_process(state: sqlite3.Connection, process: ProcessState) -> None:
    """Replace what the proxy process `process.pid` last said of itself."""
    data = {
        "connections": process.connections,
        "in_flight": process.in_flight,
        "accepted": process.accepted,
        "started_at": process.started_at,
    }
    state.execute("INSERT OR REPLACE INTO processes VALUES (?, ?)", (process.pid, json.dumps(data)))


def processes(state: sqlite3.Connection) -> list[ProcessState]:
    """What all proxy processes last said of themselves, dead ones included (`contract.wake` tells who lives)."""
    return [ProcessState(pid, **json.loads(data)) for pid, data in state.execute("SELECT pid, data FROM processes")]


def retire(state: sqlite3.Connection, pid: int) -> None:
    """The process `pid` is over: its counters go on in the sums, its own state goes."""
    with _writing(state):
        own = state.execute("SELECT host, path_prefix, data FROM traffic WHERE pid = ?", (pid,)).fetchall()
        for host, path_prefix, data in own:
            key = (_ENDED, host, path_prefix)
            row = _traffic_of(host, path_prefix, data)
            before = state.execute(
                "SELECT data FROM traffic WHERE pid = ? AND host = ? AND path_prefix = ?", key
            ).fetchone()
            total = row if before is None else _sum(_traffic_of(host, path_prefix, before[0]), row)
            state.execute("INSERT OR REPLACE INTO traffic VALUES (?, ?, ?, ?)", (*key, _traffic_json(total)))
        state.execute("DELETE FROM traffic WHERE pid = ?", (pid,))
        state.execute("DELETE FROM processes WHERE pid = ?", (pid,))


def quantile(buckets: Sequence[int], q: float) -> float | None:
    """The seconds that the share `q` (0 to 1) of requests took at most, linear inside a bucket; None without any.

    What lies above the last finite bound is taken to be that bound, as Prometheus' histogram_quantile does.
    """
    wanted = q * sum(buckets)
    lower, seen = 0.0, 0
    for upper, count in zip(LATENCY_BOUNDS, buckets, strict=True):
        if count and seen + count >= wanted:
            return lower if math.isinf(upper) else lower + (upper - lower) * (wanted - seen) / count
        lower, seen = upper, seen + count
    return None


@contextmanager
def _writing(state: sqlite3.Connection) -> Iterator[None]:
    state.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        state.execute("ROLLBACK")
        raise
    state.execute("COMMIT")


def _traffic_json(row: Traffic) -> str:
    return json.dumps({
        "requests": row.requests, "statuses": row.statuses, "bytes_in": row.bytes_in, "bytes_out": row.bytes_out,
        "seconds": row.seconds, "buckets": row.buckets,
    })  # fmt: skip


def _traffic_of(host: str, path_prefix: str, data: str) -> Traffic:
    values = json.loads(data)
    values["statuses"], values["buckets"] = tuple(values["statuses"]), tuple(values["buckets"])
    return Traffic(host, path_prefix, **values)


def _sum(one: Traffic, other: Traffic) -> Traffic:
    first, second, third, fourth, fifth = _added(one.statuses, other.statuses)
    return Traffic(
        one.host,
        one.path_prefix,
        one.requests + other.requests,
        (first, second, third, fourth, fifth),
        one.bytes_in + other.bytes_in,
        one.bytes_out + other.bytes_out,
        one.seconds + other.seconds,
        _added(one.buckets, other.buckets),
    )


def _added(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
