"""`rate_limit`: so many requests in so many seconds for each client; each proxy process counts its own."""

import heapq
import math
import time
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from proxy.policies.base import Answer, Asked, BadValue, Gate
from proxy.policies.client import subscriber

_VISITOR = "Too many requests came from your address. Try again in a moment."
_OWNER = "this visitor went over the app's limit of requests per address."
_MOST_CLIENTS = 4096
_MOST_REQUESTS, _LONGEST_SECONDS = 1_000_000, 86_400


class Limiter:
    """A token bucket for each client, kept as one number: the moment when the bucket will be full again.

    A bucket that is full needs no memory. Past `most` clients those whose buckets are fullest are
    forgotten first, so a flood of addresses does not make us forget who sends too much.
    """

    __slots__ = ("__weakref__", "_burst", "_clock", "_full_at", "_most", "_price")

    def __init__(
        self, requests: float, seconds: float, most: int = _MOST_CLIENTS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._price = seconds / requests
        # What sums of floats may be off by must not cost the burst's last request.
        self._burst = seconds + self._price / 100
        self._most, self._clock = most, clock
        self._full_at: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, client: bytes, tokens: float = 1) -> float:
        """0 when the tokens were there and are taken; else the seconds until they will be, and none are taken."""
        now = self._clock()
        full_at = max(self._full_at.get(client, now), now) + tokens * self._price
        wait = full_at - now - self._burst
        if wait > 0:
            return wait
        if len(self._full_at) >= self._most and client not in self._full_at:
            self._forget(now)
        self._full_at[client] = full_at
        return 0

    def _forget(self, now: float) -> None:
        # A quarter at once: one by one, each new client of a flood would cost a look at all.
        full = [client for client, full_at in self._full_at.items() if full_at <= now]
        for client in full:
            del self._full_at[client]
        surplus = len(self._full_at) - self._most * 3 // 4
        for client in heapq.nsmallest(surplus, self._full_at, key=self._full_at.__getitem__):
            del self._full_at[client]


# A table that is read anew must not give every client a full bucket, so an app's next gate finds the
# limiter of its present one while that is in use.
_limiters: WeakValueDictionary[tuple[str, float, float], Limiter] = WeakValueDictionary()


def gate(policy: Mapping[str, Any]) -> Gate | None:
    """429 with Retry-After for a client that sends more; all routes of one `app` with equal limits count together."""
    if "rate_limit" not in policy:
        return None
    requests, seconds = _limits(policy["rate_limit"])
    limiter = _limiter(policy.get("app"), requests, seconds)

    def check(asked: Asked) -> Answer | None:
        wait = limiter.take(subscriber(asked.peer))
        return too_many(_VISITOR, _OWNER, wait) if wait else None

    return check


def too_many(visitor: str, owner: str, wait: float) -> Answer:
    """429, to be tried again after `wait` seconds."""
    return Answer(429, visitor, owner, ((b"Retry-After", b"%d" % max(1, math.ceil(wait))),))


def _limits(value: object) -> tuple[float, float]:
    if not isinstance(value, Mapping):
        raise BadValue("not an object with requests and seconds")
    requests, seconds = value.get("requests"), value.get("seconds")
    if isinstance(requests, bool) or not isinstance(requests, int) or not 1 <= requests <= _MOST_REQUESTS:
        raise BadValue(f"requests is not a whole number from 1 to {_MOST_REQUESTS}")
    # Not a number (NaN) fails the comparison too.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST_SECONDS:
        raise BadValue(f"seconds is not a number above 0, up to {_LONGEST_SECONDS}")
    return requests, seconds


def _limiter(app: object, requests: float, seconds: float) -> Limiter:
    if not isinstance(app, str) or not app:
        return Limiter(requests, seconds)
    key = (app, requests, seconds)
    found = _limiters.get(key)
    if found is None:
        found = _limiters[key] = Limiter(requests, seconds)
    return found
