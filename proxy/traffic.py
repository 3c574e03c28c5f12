"""What is counted of each route: requests by status class, bytes, and how long they took."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping

from proxy.contract import LATENCY_BOUNDS, Minute, Traffic


class Counters:
    """Counts since the process began; `buckets` by upper bounds `LATENCY_BOUNDS`."""

    __slots__ = ("buckets", "bytes_in", "bytes_out", "requests", "seconds", "statuses")

    def __init__(self) -> None:
        self.requests = 0
        self.statuses = [0, 0, 0, 0, 0]
        self.bytes_in = 0
        self.bytes_out = 0
        self.seconds = 0.0
        self.buckets = [0] * len(LATENCY_BOUNDS)

    def count(self, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """One request has ended."""
        self.requests += 1
        # Backends may make up statuses above 599; clients take what they do not know for errors (RFC 9110, 15).
        self.statuses[min(status // 100, 5) - 1] += 1
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        self.seconds += seconds
        self.buckets[bisect_left(LATENCY_BOUNDS, seconds)] += 1


class Tally:
    """What has changed since it was last told, of all routes."""

    def __init__(self, counters: Mapping[tuple[str, str], Counters]) -> None:
        self._counters = counters
        self._told: dict[tuple[str, str], Traffic] = {}
        # Added to minutes, which is not to be done twice.
        self._added: dict[tuple[str, str], Traffic] = {}

    def news(self) -> tuple[list[Traffic], list[Minute]]:
        """The totals of routes that had requests since, and how much was added in this minute; `told` ends it."""
        totals, minutes = [], []
        minute = int(time.time()) // 60
        for key, counters in self._counters.items():
            told = self._told.get(key)
            if counters.requests == (told.requests if told else 0):
                continue
            first, second, third, fourth, fifth = counters.statuses
            total = Traffic(
                *key, counters.requests, (first, second, third, fourth, fifth), counters.bytes_in, counters.bytes_out,
                counters.seconds, tuple(counters.buckets),
            )  # fmt: skip
            totals.append(total)
            before = self._added.get(key) or Traffic(*key)
            if total.requests != before.requests:
                minutes.append(_added_since(before, total, minute))
        return totals, minutes

    def told(self, totals: list[Traffic]) -> None:
        """These news are written down."""
        news = {(total.host, total.path_prefix): total for total in totals}
        self._told |= news
        self._added |= news

    def forget(self) -> None:
        """The file may be another one by now: tell all totals again."""
        self._told.clear()


def _added_since(before: Traffic, now: Traffic, minute: int) -> Minute:
    buckets = tuple(new - old for new, old in zip(now.buckets, before.buckets, strict=True))
    requests, errors = now.requests - before.requests, now.statuses[4] - before.statuses[4]
    return Minute(minute, now.host, now.path_prefix, requests, errors, now.bytes_out - before.bytes_out, buckets)
