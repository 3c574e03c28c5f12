"""What the proxies are put through, and in which unit each case is counted."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import heads
from bench.bodies import download, upload
from bench.figures import Figure
from bench.load import Load, wrk
from bench.peers import HOST, RIVETR, Standing, standing
from bench.processes import cpu_seconds, family_own_kib, family_pss_kib, family_rss_kib
from bench.upstream import FILES, MEBIBYTE

CONNECTIONS = 1000
ROUTES = 10_000
CHANGING_ROUTES = 100
CHANGE_SECONDS = 0.1
QUIET = "rivetr quiet"
# After a start or a load, until memory is looked at: garbage collectors and sweeps have had their turn.
SETTLE_SECONDS = 2.0
# Memory hardly differs from round to round, and each of these starts every proxy anew.
MEMORY_ROUNDS = 2

MICROSECONDS, PER_GB = "CPU us/request", "CPU s/GB"
KB_CONNECTION, BYTES_ROUTE, MEGABYTES = "KB/connection", "bytes/route", "MB PSS"


@dataclass(frozen=True, slots=True)
class Bench:
    """What every case needs: where to put files, the upstream's port, how long a load lasts."""

    folder: Path
    upstream: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Case:
    """A load on a proxy that stands already (`load`), or something that starts its own (`alone`)."""

    name: str
    title: str
    unit: str
    load: Callable[[Bench, Standing], Load] | None = None
    alone: Callable[[Bench, str, int], list[Figure]] | None = None
    only_ours: bool = False
    most_rounds: int = 1000


def measure(case: Case, bench: Bench, proxy: Standing, number: int) -> Figure:
    """Put a standing proxy under the case's load; its processor time is taken from before to after."""
    assert case.load is not None
    before = cpu_seconds(proxy.pid)
    load = case.load(bench, proxy)
    spent = cpu_seconds(proxy.pid) - before
    return Figure(case.name, proxy.name, number, _value(case.unit, spent, load), family_pss_kib(proxy.pid), load)


def warm(bench: Bench, proxy: Standing) -> None:
    """A second of load that nobody counts."""
    wrk(proxy.port, heads.visitors(HOST), 1, bench.folder)


def _value(unit: str, cpu: float, load: Load) -> float:
    if unit == PER_GB:
        return cpu / max(load.bytes, 1) * 1e9
    return cpu / max(load.requests, 1) * 1e6


def _small(make: Callable[[str], list[str]], bench: Bench, proxy: Standing) -> Load:
    return wrk(proxy.port, make(HOST), bench.seconds, bench.folder)


def _down(path: str, clients: int, bench: Bench, proxy: Standing) -> Load:
    return download(proxy.port, HOST, path, FILES[path], bench.seconds, clients)


def _up(size: int, clients: int, bench: Bench, proxy: Standing) -> Load:
    return upload(proxy.port, HOST, size, bench.seconds, clients)


def _idle(bench: Bench, name: str, number: int) -> list[Figure]:
    with standing(name, bench.folder, bench.upstream) as proxy:
        time.sleep(SETTLE_SECONDS)
        pss = family_pss_kib(proxy.pid)
        note = f"RSS {family_rss_kib(proxy.pid) / 1024:.1f} MB"
        return [Figure("idle", name, number, pss / 1024, pss, note=note)]


def _connections(bench: Bench, name: str, number: int) -> list[Figure]:
    with standing(name, bench.folder, bench.upstream) as proxy:
        warm(bench, proxy)
        time.sleep(SETTLE_SECONDS)
        before = family_own_kib(proxy.pid)
        with _idle_clients(proxy.port):
            time.sleep(SETTLE_SECONDS)
            grown, pss = family_own_kib(proxy.pid) - before, family_pss_kib(proxy.pid)
        return [Figure("connections", name, number, grown / CONNECTIONS, pss)]


@contextmanager
def _idle_clients(port: int) -> Iterator[None]:
    """Connections that have had one answer each, and keep still."""
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            client.sendall(heads.bare(HOST).encode())
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
        yield


def many_hosts(count: int) -> list[str]:
    """Names as apps have them."""
    return [HOST, *(f"app-{number}.apps.example.test" for number in range(1, count))]


def _routes(bench: Bench, name: str, number: int) -> list[Figure]:
    """Memory of each route, and lookups among all of them."""
    hosts = many_hosts(ROUTES)
    with standing(name, bench.folder, bench.upstream) as proxy:
        time.sleep(SETTLE_SECONDS)
        before = family_own_kib(proxy.pid)
        if proxy.ours:
            # As it happens in life: the table grows under a proxy that runs.
            proxy.ours.publish(hosts, f"127.0.0.1:{bench.upstream}")
            return _many_routes(bench, proxy, number, before, hosts)
    # One after the other: two processes of one program would share pages, which PSS halves.
    with standing(name, bench.folder, bench.upstream, hosts) as proxy:
        return _many_routes(bench, proxy, number, before, hosts)


def _many_routes(bench: Bench, proxy: Standing, number: int, before: int, hosts: Sequence[str]) -> list[Figure]:
    time.sleep(SETTLE_SECONDS)
    each = (family_own_kib(proxy.pid) - before) * 1024 / (ROUTES - 1)
    pss = family_pss_kib(proxy.pid)
    cpu = cpu_seconds(proxy.pid)
    load = wrk(proxy.port, heads.anybody(hosts), bench.seconds, bench.folder)
    spent = _value(MICROSECONDS, cpu_seconds(proxy.pid) - cpu, load)
    return [
        Figure("route-memory", proxy.name, number, each, pss),
        Figure("routes", proxy.name, number, spent, pss, load),
    ]


def _changes(bench: Bench, name: str, number: int) -> list[Figure]:
    """The same load while routes change and while they do not."""
    hosts, figures = many_hosts(CHANGING_ROUTES), []
    with standing(name, bench.folder, bench.upstream, hosts) as proxy:
        assert proxy.ours is not None
        warm(bench, proxy)
        case = CASES["changes"]
        for label in (QUIET, name) if number % 2 else (name, QUIET):
            cpu, note = cpu_seconds(proxy.pid), ""
            if label == QUIET:
                load = _small(heads.visitors, bench, proxy)
            else:
                with proxy.ours.changing(hosts, f"127.0.0.1:{bench.upstream}", CHANGE_SECONDS) as changes:
                    load = _small(heads.visitors, bench, proxy)
                note = f"{changes[0] / load.seconds:.1f} changes/s"
            spent = _value(case.unit, cpu_seconds(proxy.pid) - cpu, load)
            figures.append(Figure("changes", label, number, spent, family_pss_kib(proxy.pid), load, note))
    return figures


def _bare(host: str) -> list[str]:
    return [heads.bare(host)]


def _closing(host: str) -> list[str]:
    return [heads.closing(host)]


_ALL = (
    Case("bare", "Small answers, kept-alive connections, bare heads", MICROSECONDS, partial(_small, _bare)),
    Case(
        "browser",
        f"Small answers, kept-alive connections, a browser's 12 fields, {heads.VISITORS} visitors in turn",
        MICROSECONDS,
        partial(_small, heads.visitors),
    ),
    Case(
        "strangers",
        "The same, each request with a cookie that never came before",
        MICROSECONDS,
        partial(_small, heads.strangers),
    ),
    Case("new", "A new connection for each request", MICROSECONDS, partial(_small, _closing)),
    Case("down-1m", "1 MiB down, 8 clients", PER_GB, partial(_down, "/1m", 8)),
    Case("down-100m", "100 MiB down, 2 clients", PER_GB, partial(_down, "/100m", 2)),
    Case("up-1m", "1 MiB up, 8 clients", PER_GB, partial(_up, MEBIBYTE, 8)),
    Case("up-100m", "100 MiB up, 2 clients", PER_GB, partial(_up, 100 * MEBIBYTE, 2)),
    Case("idle", "At rest after the start", MEGABYTES, alone=_idle, most_rounds=MEMORY_ROUNDS),
    Case(
        "connections",
        f"{CONNECTIONS} idle kept-alive connections",
        KB_CONNECTION,
        alone=_connections,
        most_rounds=MEMORY_ROUNDS,
    ),
    Case("route-memory", f"Memory of {ROUTES} routes", BYTES_ROUTE),
    Case(
        "routes",
        f"{ROUTES} routes, each asked for in turn, bare heads",
        MICROSECONDS,
        alone=_routes,
        most_rounds=MEMORY_ROUNDS,
    ),
    Case(
        "changes",
        f"{CHANGING_ROUTES} routes, {1 / CHANGE_SECONDS:.0f} changes a second, a browser's fields",
        MICROSECONDS,
        alone=_changes,
        only_ours=True,
    ),
)
CASES = {case.name: case for case in _ALL}


def plays(case: Case, proxy: str, number: int) -> bool:
    """Whether this proxy takes part in this case in this round."""
    return number < case.most_rounds and (not case.only_ours or proxy == RIVETR)
