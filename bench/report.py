"""How the figures of the proxies are shown: a table a case, then what was to be reached and whether it was."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases import BYTES_ROUTE, CASES, KB_CONNECTION, MEGABYTES, PER_GB, QUIET, Case
from bench.figures import Figure, Figures, median
from bench.peers import RIVETR
from bench.table import show


@dataclass(frozen=True, slots=True)
class Bar:
    """The most that a case may take: of a peer's figure, or by itself in the case's unit."""

    case: str
    limit: float
    peer: str | None = None


BARS = (
    *(
        Bar(case, limit, peer)
        for case in ("browser", "strangers")
        for peer, limit in (("caddy", 0.30), ("traefik", 0.40), ("haproxy", 1.35), ("nginx", 1.5))
    ),
    Bar("new", 0.45, "caddy"),
    Bar("new", 1.2, "nginx"),
    *(Bar(case, 0.5, "nginx") for case in ("down-1m", "down-100m", "up-1m", "up-100m")),
    Bar("idle", 18),
    Bar("connections", 6),
    Bar("route-memory", 300),
)
_DIGITS = {PER_GB: 2, KB_CONNECTION: 1, MEGABYTES: 1, BYTES_ROUTE: 0}


def show_case(case: Case, figures: Figures) -> None:
    """One row a proxy: median and range, what clients saw, memory, and ours by this one's figure."""
    proxies = figures.proxies(case.name)
    if not proxies:
        return
    order = sorted(proxies, key=lambda name: (name != RIVETR, name != QUIET))
    head = ("", case.unit, "range", _rate_title(case), "p50 ms", "p99 ms", "PSS MB", "ours/this", "of rounds", "")
    rows = [_row(case, name, figures) for name in order]
    show(case.title + f" [{case.name}]", head, _without_empty(head, rows))
    _show_errors(case.name, figures)


def _without_empty(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[row[column] or "-" if head[column] else row[column] for column in range(len(head))] for row in rows]


def _rate_title(case: Case) -> str:
    return "MB/s" if case.unit == PER_GB else "req/s"


def _row(case: Case, name: str, figures: Figures) -> list[str]:
    taken = figures.of(case.name, name)
    values = [figure.value for figure in taken]
    ratios = figures.ratios(case.name, RIVETR, name) if name != RIVETR else []
    middle = median(ratios)
    digits = _DIGITS.get(case.unit, 1)
    return [
        name,
        f"{median(values):.{digits}f}",
        f"{min(values):.{digits}f}..{max(values):.{digits}f}",
        *_seen(case, taken),
        f"{median([figure.pss_kib / 1024 for figure in taken]):.1f}",
        f"{middle:.2f}" if middle is not None else "",
        f"{min(ratios):.2f}..{max(ratios):.2f}" if ratios else "",
        taken[-1].note,
    ]


def _seen(case: Case, taken: Sequence[Figure]) -> list[str]:
    """Rate and latencies, as medians."""
    loads = [figure.load for figure in taken if figure.load]
    if not loads:
        return ["", "", ""]
    amounts = [(load.bytes / 1e6 if case.unit == PER_GB else load.requests) / load.seconds for load in loads]
    p50, p99 = median([load.p50 for load in loads]), median([load.p99 for load in loads])
    return [f"{median(amounts):.0f}", f"{p50:.2f}", f"{p99:.2f}"]


def _show_errors(case: str, figures: Figures) -> None:
    for name in figures.proxies(case):
        errors: Counter[str] = Counter()
        for figure in figures.of(case, name):
            errors.update(figure.errors)
        if errors:
            counts = ", ".join(f"{count} x {kind}" for kind, count in errors.items())
            print(f"  ERRORS with {name}: {counts}; its figures above are worth nothing")


def show_bars(figures: Figures) -> None:
    """What was to be reached, and whether it was; bars whose case was not run are left out."""
    rows = [row for bar in BARS if (row := _bar_row(bar, figures))]
    if rows:
        show("Bars (ratios: median of the rounds' ratios)", ("", "at most", "measured", ""), rows)
    wrong = sum(sum(figure.errors.values()) for figure in figures.all)
    asked = sum(figure.load.requests for figure in figures.all if figure.load)
    print(f"\n{wrong} errors in {asked} requests" if wrong else f"\nNo error in {asked} requests")


def _bar_row(bar: Bar, figures: Figures) -> list[str] | None:
    if bar.peer:
        measured = median(figures.ratios(bar.case, RIVETR, bar.peer))
        what, unit = f"{bar.case}, of {bar.peer}'s {CASES[bar.case].unit}", "x"
    else:
        measured = figures.median(bar.case, RIVETR)
        what, unit = f"{bar.case}, {CASES[bar.case].unit}", ""
    if measured is None:
        return None
    return [
        what,
        f"{bar.limit:g}{unit}",
        f"{measured:.2f}{unit}",
        "reached" if measured <= bar.limit else "NOT reached",
    ]
