"""What our proxy costs beside nginx, HAProxy, Caddy and Traefik, one core's worth of each.

`make bench-proxy`. Every proxy stands before the same upstream on loopback and is put through the same cases in
turn, round by round, so that a noisy machine disturbs all alike. What counts is the proxy's own processor time;
rates and latencies depend on what else the machine does. See docs/bench.md.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from bench.cases import CASES, Bench, Case, measure, plays, warm
from bench.figures import Figures
from bench.peers import PEERS, PROGRAMS, RIVETR, standing
from bench.programs import Missing, program, version
from bench.report import show_bars, show_case
from bench.upstream import upstream

T = TypeVar("T")


def main() -> int:
    """Run the rounds and print a table a case and the bars; 1 if something necessary is missing."""
    options = _parser().parse_args()
    try:
        for name in ("nginx", "wrk"):
            program(name)
    except Missing as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    proxies = [RIVETR, *_present(options.peer or PEERS)]
    cases = [case for name, case in CASES.items() if name in (options.case or CASES)]
    versions = {PROGRAMS[name]: version(PROGRAMS[name]) for name in proxies if name in PROGRAMS}
    print(f"Beside {', '.join(f'{name} {number}' for name, number in versions.items())};", end=" ")
    print(f"{options.rounds} rounds of {options.seconds} s")
    figures = _run(cases, proxies, options.rounds, options.seconds)
    for case in cases:
        show_case(case, figures)
    show_bars(figures)
    if options.json:
        content = {"versions": versions, "seconds": options.seconds, "figures": [asdict(f) for f in figures.all]}
        options.json.write_text(json.dumps(content, indent=1))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench.proxy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of load for each proxy in each case and round")
    parser.add_argument("--case", action="append", choices=tuple(CASES), help="only this one (repeatable)")
    parser.add_argument("--peer", action="append", choices=PEERS, help="only this one beside ours (repeatable)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure there")
    return parser


def _present(names: Sequence[str]) -> list[str]:
    """Those whose program is here or can be installed; the others are named and left out."""
    present = []
    for name in names:
        try:
            program(PROGRAMS[name])
            present.append(name)
        except Missing as error:
            print(f"bench: {name} is left out: {error}", file=sys.stderr)
    return present


def _run(cases: Sequence[Case], proxies: Sequence[str], rounds: int, seconds: int) -> Figures:
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="rivetr-bench-") as folder, upstream() as port:
        bench = Bench(Path(folder), port, seconds)
        _under_load([case for case in cases if case.load], bench, proxies, rounds, figures)
        for number in range(rounds):
            for case in _alone(cases):
                for name in _turned(proxies, number):
                    if plays(case, name, number):
                        _tell(number, case.name, name)
                        assert case.alone is not None
                        figures.all.extend(case.alone(bench, name, number))
    _tell_end()
    return figures


def _under_load(cases: Sequence[Case], bench: Bench, proxies: Sequence[str], rounds: int, figures: Figures) -> None:
    """Cases on proxies that all stand for the whole time."""
    if not cases:
        return
    with ExitStack() as stack:
        standings = [stack.enter_context(standing(name, bench.folder, bench.upstream)) for name in proxies]
        for proxy in standings:
            warm(bench, proxy)
        for number in range(rounds):
            for case in cases:
                for proxy in _turned(standings, number):
                    _tell(number, case.name, proxy.name)
                    figures.all.append(measure(case, bench, proxy, number))


def _alone(cases: Sequence[Case]) -> list[Case]:
    """Cases that start proxies of their own; memory of routes comes with their lookups."""
    wanted = {"routes" if case.name == "route-memory" else case.name for case in cases}
    return [case for case in CASES.values() if case.alone and case.name in wanted]


def _turned(things: Sequence[T], number: int) -> list[T]:
    """Another one is first in each round."""
    start = number % len(things)
    return [*things[start:], *things[:start]]


def _tell(number: int, case: str, name: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[Kround {number + 1}: {case}, {name}", end="", file=sys.stderr, flush=True)


def _tell_end() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
