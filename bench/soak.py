"""Our proxy under everything at once for a long time: does it lose requests, memory or file descriptors?

`make bench-soak`. Kept-alive and new connections, uploads, slow readers, visitors who vanish, upgrades, and routes
that change all the while, at a bounded rate. A line each 15 seconds; then how memory grew after the first two
minutes, what is left open once everybody has gone, and every error. See docs/bench.md.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import readlink
from pathlib import Path

from bench.ours import Ours
from bench.processes import cpu_seconds, family_pss_kib
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
# What was open for visitors is closed by then, kept connections to backends perhaps not.
REST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The proxy at one moment."""

    seconds: float
    pss_kib: int
    files: int
    connections: int
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
    print("    time    PSS KB   files  sockets    CPU %    visits   errors", flush=True)
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
    time.sleep(REST_SECONDS)
    print("  everybody has gone:")
    samples.append(_line(ours, begun, crowd, samples[-1]))
    _conclude(samples, crowd, changes, ours)


def _routes(change: int, port: int, echoes: str) -> list[contract.Route]:
    """The table after so many changes: each takes another route away, and gives every backend another weight."""
    there = (contract.Backend(f"127.0.0.1:{port}", weight=1 + change % 3),)
    others = [contract.Route(f"app-{n}.soak.test", "/", there) for n in range(OTHERS) if n != change % OTHERS]
    own = contract.Route(HOST, "/", there)
    return [own, contract.Route(UPGRADE_HOST, "/", (contract.Backend(echoes),)), *others]


def _line(ours: Ours, begun: float, crowd: Crowd, last: Sample | None) -> Sample:
    links = []
    for entry in Path(f"/proc/{ours.pid}/fd").iterdir():
        try:
            links.append(readlink(entry))
        except OSError:
            # Closed since it was listed.
            continue
    sockets = sum(link.startswith("socket:") for link in links)
    now = time.monotonic() - begun
    sample = Sample(now, family_pss_kib(ours.pid), len(links), sockets, cpu_seconds(ours.pid))
    share = (sample.cpu - last.cpu) / (now - last.seconds) * 100 if last else 0.0
    visits, errors = sum(crowd.done.values()), sum(crowd.errors.values())
    print(
        f"{now:7.0f}s {sample.pss_kib:9d} {sample.files:7d} {sockets:8d} {share:8.1f} {visits:9d} {errors:8d}",
        flush=True,
    )
    return sample


def _conclude(samples: Sequence[Sample], crowd: Crowd, changes: int, ours: Ours) -> None:
    first, last = samples[0], samples[-1]
    # A short soak has a shorter beginning.
    warm = min(WARM_MINUTES * 60, samples[-2].seconds / 3)
    steady = [sample for sample in samples[:-1] if sample.seconds >= warm]
    if len(steady) > 1:
        print(f"\nMemory after the first {warm:.0f} s: {_slope(steady):+.1f} KB a minute over {len(steady)} lines")
    print(f"Memory at the end {last.pss_kib} KB, at the start {first.pss_kib} KB")
    print(
        f"Files at the end {last.files}, at the start {first.files}; sockets {last.connections} and {first.connections}"
    )
    print(f"{changes} changes of routes; visits: {', '.join(f'{n} {kind}' for kind, n in sorted(crowd.done.items()))}")
    for wrong, count in crowd.errors.most_common(20):
        print(f"ERROR {count} x {wrong}")
    if not crowd.errors:
        print("No error")
    if ours.log.strip():
        print(f"The proxy's log ends with:\n{ours.log[-2000:]}")


def _slope(samples: Sequence[Sample]) -> float:
    """Least squares, in KB a minute."""
    times = [sample.seconds / 60 for sample in samples]
    middle = sum(times) / len(times)
    level = sum(sample.pss_kib for sample in samples) / len(samples)
    spread = sum((at - middle) ** 2 for at in times)
    return sum((at - middle) * (s.pss_kib - level) for at, s in zip(times, samples, strict=True)) / spread


if __name__ == "__main__":
    sys.exit(main())
