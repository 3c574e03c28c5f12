"""What visitors did with an app in the last hour, for its page."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rivetr import config
from rivetr.actor import Actor
from rivetr.engine import routing
from rivetr.models import App

MINUTES = 60
_QUANTILES = (0.5, 0.95, 0.99)
# Seconds that half, 95 and 99 of 100 requests took at most; None without requests.
Latency = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One minute that began at unix time `minute * 60`."""

    minute: int
    requests: int
    errors: int
    latency: Latency


@dataclass(frozen=True, slots=True)
class Panel:
    """The last hour, its sums, and what is now. `backends` counts addresses by health."""

    points: tuple[Point, ...]
    requests: int
    errors: int
    latency: Latency
    per_second: float
    in_flight: int
    backends: dict[str, int]

    @property
    def error_share(self) -> float | None:
        return self.errors / self.requests if self.requests else None


def panel(actor: Actor, app: App) -> Panel:
    """The traffic of an app that the caller already has. Raises `Forbidden`."""
    actor.require("read")
    now = time.time()
    first = int(now) // 60 - MINUTES + 1
    report = routing.recent(first, app.hosts(config.current().proxy.base_domain))
    by_minute: dict[int, list[routing.Minute]] = {}
    for row in report.minutes:
        by_minute.setdefault(row.minute, []).append(row)
    points = tuple(_point(minute, by_minute.get(minute, ())) for minute in range(first, first + MINUTES))
    addresses = _addresses(app)
    mine = [state for state in report.backends if state.address in addresses]
    seen = {state.address: state.health for state in mine}
    return Panel(
        points=points,
        requests=sum(point.requests for point in points),
        errors=sum(point.errors for point in points),
        latency=_latency(report.minutes),
        per_second=_per_second(points, now),
        in_flight=sum(state.in_flight for state in mine),
        backends=dict(Counter(seen.get(address, "unknown") for address in addresses)),
    )


def _addresses(app: App) -> list[str]:
    live = app.live_deployment if not app.is_stopped else None
    return [backend["address"] for backend in live.backends] if live else []


def _point(minute: int, rows: Sequence[routing.Minute]) -> Point:
    return Point(minute, sum(row.requests for row in rows), sum(row.errors for row in rows), _latency(rows))


def _latency(rows: Sequence[routing.Minute]) -> Latency:
    buckets = [sum(column) for column in zip(*(row.buckets for row in rows), strict=True)]
    return tuple(routing.quantile(buckets, q) if buckets else None for q in _QUANTILES)


def _per_second(points: Sequence[Point], now: float) -> float:
    """The rate of the last 60 seconds: this minute, and as much of the one before as is missing to 60 seconds."""
    return (points[-1].requests + points[-2].requests * (1 - now % 60 / 60)) / 60
