"""Our proxy under everything at once for a long time: does it lose requests, memory or file descriptors?

`make bench-soak`. Kept-alive and new connections, uploads, slow readers, visitors who vanish, upgrades, and routes
that change all the while, at a bounded rate. A line each 15 seconds; then how memory grew after the first two
minutes, what is left open once everybody has gone, and every error. See docs/bench.md.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import readlink
from pathlib import Path

from bench.ours import Ours
from bench.processes import cpu_seconds, family_own_kib, family_pss_kib
from bench.programs import Missing, program
from bench.upstream import upstream
from bench.visitors import Crowd, echo, visiting
from proxy import contract
from tests.proxy.wire import Backend

HOST, UPGRADE_HOST = "soak.test", "upgrade.soak.test"
OTHERS = 50
CHANGE_SECONDS = 0.5
LINE_SECONDS = 15.0
WARM_MINUTES = 2.0
# Seconds after the last visitor: at once, and when the proxy's idle time-out (75 s) has passed for all.
REST_SECONDS = (10.0, 95.0)
# The kernel's number for it in /proc/net/tcp.
_LISTENS = "0A"


@dataclass(frozen=True, slots=True)
class Sample:
    """The proxy at one moment."""

    seconds: float
    own_kib: int
    files: int
    clients: int
    backends: int
    reset: int
    cpu: float


def main() -> int:
    """Run the soak; 1 only when it cannot be run."""
    parser = argparse.ArgumentParser(
        prog="bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    try:
        program("nginx")
    except Missing as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="rivetr-soak-") as folder, upstream() as port:
        ours = Ours(Path(folder))
        echoes = Backend(echo, reads_body=False)
        try:
            ours.start()
            ours.publish_routes(_routes(0, port, echoes.address))
            _soak(ours, minutes * 60, port, echoes.address)
        finally:
            ours.end()
            echoes.close()
    return 0


def _soak(ours: Ours, seconds: float, port: int, echoes: str) -> None:
    crowd = Crowd(ours.port, HOST, UPGRADE_HOST)
    begun = time.monotonic()
    print("    time    PSS KB    own KB   files  clients  backends  dead    CPU %    visits   errors", flush=True)
    samples = [_line(ours, begun, crowd, None)]
    with visiting(crowd):
        changes = 0
        while (now := time.monotonic() - begun) < seconds and not ours.has_ended:
            changes += 1
            ours.publish_routes(_routes(changes, port, echoes), waits=False)
            if now - samples[-1].seconds >= LINE_SECONDS:
                samples.append(_line(ours, begun, crowd, samples[-1]))
            time.sleep(max(0.0, begun + changes * CHANGE_SECONDS - time.monotonic()))
    if ours.has_ended:
        print(f"THE PROXY ENDED: {ours.log[-3000:]}")
        return
    print("  everybody has gone:")
    left, gone = len(samples), time.monotonic()
    for rest in REST_SECONDS:
        time.sleep(gone + rest - time.monotonic())
        samples.append(_line(ours, begun, crowd, samples[-1]))
    _conclude(samples[:left], samples[-1], crowd, changes)
    if ours.log.strip():
        print(f"The proxy's log ends with:\n{ours.log[-2000:]}")


def _routes(change: int, port: int, echoes: str) -> list[contract.Route]:
    """The table after so many changes: each takes another route away, and gives every backend another weight."""
    there = (contract.Backend(f"127.0.0.1:{port}", weight=1 + change % 3),)
    others = [contract.Route(f"app-{n}.soak.test", "/", there) for n in range(OTHERS) if n != change % OTHERS]
    own = contract.Route(HOST, "/", there)
    return [own, contract.Route(UPGRADE_HOST, "/", (contract.Backend(echoes),)), *others]


def _line(ours: Ours, begun: float, crowd: Crowd, last: Sample | None) -> Sample:
    links = _links(ours.pid)
    clients, backends, reset = _connections(links, ours.port)
    now = time.monotonic() - begun
    sample = Sample(now, family_own_kib(ours.pid), len(links), clients, backends, reset, cpu_seconds(ours.pid))
    share = (sample.cpu - last.cpu) / (now - last.seconds) * 100 if last else 0.0
    visits, errors = sum(crowd.done.values()), sum(crowd.errors.values())
    print(
        f"{now:7.0f}s {family_pss_kib(ours.pid):9d} {sample.own_kib:9d} {len(links):7d}"
        f" {clients:8d} {backends:9d} {reset:5d} {share:8.1f} {visits:9d} {errors:8d}",
        flush=True,
    )
    return sample


def _links(pid: int) -> list[str]:
    """What each of its descriptors is, as the kernel names it."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        # One that was closed since it was listed is nothing.
        with contextlib.suppress(OSError):
            links.append(readlink(entry))
    return links


def _connections(links: Sequence[str], port: int) -> tuple[int, int, int]:
    """Connections from clients, those to backends, and those that the other side reset, still to be closed."""
    listed = {fields[9]: fields for fields in _table("tcp")}
    others = {fields[6] for fields in _table("unix")}
    clients = backends = reset = 0
    for link in links:
        if not link.startswith("socket:"):
            continue
        inode = link.removeprefix("socket:[").removesuffix("]")
        fields = listed.get(inode)
        if fields is None:
            # The kernel no longer lists a connection that was reset.
            reset += inode not in others
        elif fields[3] != _LISTENS:
            is_client = int(fields[1].rpartition(":")[2], 16) == port
            clients, backends = clients + is_client, backends + (not is_client)
    return clients, backends, reset


def _table(name: str) -> list[list[str]]:
    return [line.split() for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]


def _conclude(samples: Sequence[Sample], last: Sample, crowd: Crowd, changes: int) -> None:
    first = samples[0]
    # A short soak has a shorter beginning.
    warm = min(WARM_MINUTES * 60, samples[-1].seconds / 3)
    steady = [sample for sample in samples if sample.seconds >= warm]
    if len(steady) > 1:
        print(f"\nOwn memory after the first {warm:.0f} s: {_slope(steady):+.1f} KB a minute over {len(steady)} lines")
    print(f"Own memory at the end {last.own_kib} KB, at the start {first.own_kib} KB")
    print(
        f"Files at the end {last.files}, at the start {first.files};"
        f" left are {last.clients} clients, {last.backends} connections to backends, {last.reset} dead"
    )
    print(f"{changes} changes of routes; visits: {', '.join(f'{n} {kind}' for kind, n in sorted(crowd.done.items()))}")
    for wrong, count in crowd.errors.most_common(20):
        print(f"ERROR {count} x {wrong}")
    if not crowd.errors:
        print("No error")


def _slope(samples: Sequence[Sample]) -> float:
    """Least squares, in KB a minute."""
    times = [sample.seconds / 60 for sample in samples]
    middle = sum(times) / len(times)
    level = sum(sample.own_kib for sample in samples) / len(samples)
    spread = sum((at - middle) ** 2 for at in times)
    return sum((at - middle) * (s.own_kib - level) for at, s in zip(times, samples, strict=True)) / spread


if __name__ == "__main__":
    sys.exit(main())
