"""One measured figure, and how figures of several rounds are brought together."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.load import Load


@dataclass(frozen=True, slots=True)
class Figure:
    """What one proxy took in one case of one round; `value` is in the case's unit, and less is better."""

    case: str
    proxy: str
    round: int
    value: float
    pss_kib: int
    load: Load | None = None
    note: str = ""

    @property
    def errors(self) -> Mapping[str, int]:
        return self.load.errors if self.load else {}


@dataclass(slots=True)
class Figures:
    """All of one run, in the order in which they were taken."""

    all: list[Figure] = field(default_factory=list)

    def of(self, case: str, proxy: str) -> list[Figure]:
        return [figure for figure in self.all if (figure.case, figure.proxy) == (case, proxy)]

    def proxies(self, case: str) -> list[str]:
        return list(dict.fromkeys(figure.proxy for figure in self.all if figure.case == case))

    def ratios(self, case: str, ours: str, peer: str) -> list[float]:
        """Ours by the peer's, round by round: a noisy machine disturbs both figures of a round alike."""
        left = {figure.round: figure.value for figure in self.of(case, ours)}
        right = {figure.round: figure.value for figure in self.of(case, peer)}
        return [left[number] / right[number] for number in left if right.get(number, 0) > 0]

    def median(self, case: str, proxy: str) -> float | None:
        return median([figure.value for figure in self.of(case, proxy)])


def median(values: Sequence[float]) -> float | None:
    """The median, or None of nothing."""
    return statistics.median(values) if values else None
