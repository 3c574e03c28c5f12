"""Where the marks of a chart stand; `templates/components/charts.html` draws them.

A plot is one unit wide for each point and 100 high, y growing downwards as in SVG.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 100.0
# What is not nothing must be seen.
_LEAST = 2.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar's height, and that of the part of it (from below) that went wrong."""

    height: float
    bad_height: float


@dataclass(frozen=True, slots=True)
class Scale:
    """A logarithmic axis: gridlines by height and what they say, one path for each line."""

    ticks: tuple[tuple[float, float], ...]
    paths: tuple[str, ...]


def peak(values: Sequence[int]) -> int:
    """The least of 1, 2, 4, 6, 8, 10, 20, 40, … that no value exceeds."""
    most = max((*values, 1))
    power: int = 10 ** (len(str(most)) - 1)
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if most <= step * power)


def bars(counts: Sequence[tuple[int, int]]) -> list[Bar]:
    """Bars for pairs of all and bad ones, the highest scale being `peak` of all."""
    top = peak([count for count, _ in counts])
    return [Bar(_height(count, top), _height(bad, top)) for count, bad in counts]


def _height(value: int, top: int) -> float:
    return round(max(HEIGHT * value / top, _LEAST), 2) if value else 0.0


def lines(series: Sequence[Sequence[float | None]]) -> Scale:
    """Lines of positive values on one axis whose gridlines are powers of ten; None is a gap."""
    known = [value for line in series for value in line if value]
    low = math.floor(math.log10(min(known))) if known else -3
    high = max(math.ceil(math.log10(max(known))) if known else 0, low + 1)

    def y(value: float) -> float:
        return round(HEIGHT * (high - math.log10(value)) / (high - low), 2)

    ticks = tuple((y(10.0**power), 10.0**power) for power in range(low, high + 1))
    return Scale(ticks, tuple(_path([y(value) if value else None for value in line]) for line in series))


def _path(heights: Sequence[float | None]) -> str:
    """Through the middle of each point's width; a point without neighbours is a dot (round line ends show it)."""
    parts, is_drawing = [], False
    for position, height in enumerate(heights):
        if height is not None:
            parts.append(f"L{position + 0.5} {height}" if is_drawing else f"M{position + 0.5} {height}h0")
        is_drawing = height is not None
    return "".join(parts)
