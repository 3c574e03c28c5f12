"""What this process knows of its backends: requests in flight, and which ones are draining."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from greenlet import greenlet

from proxy.contract import Backend, BackendState, Route


class Cut(gevent.GreenletExit):
    """Thrown into a request whose backend left the table longer ago than the drain time-out."""


class Backends:
    """In-flight requests by address; an address that left the table drains until none is left."""

    def __init__(self, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._in_flight: dict[str, set[greenlet]] = {}
        self._departed: dict[str, tuple[int, float]] = {}
        self._health: dict[str, str] = {}
        self._turns: dict[tuple[str, str], Iterator[int]] = {}

    def order(self, route: Route) -> list[Backend]:
        """The route's backends in the order to try them: whose turn it is first (weighted round robin)."""
        slots = [backend for backend in route.backends for _ in range(max(1, backend.weight))]
        if len(slots) == 1:
            return slots
        turn = next(self._turns.setdefault((route.host, route.path_prefix), itertools.count()))
        first = turn % len(slots)
        return list(dict.fromkeys(slots[first:] + slots[:first]))

    @contextmanager
    def request(self, address: str) -> Iterator[None]:
        """Count the current greenlet as in flight to `address` while the body runs."""
        current = gevent.getcurrent()
        flying = self._in_flight.setdefault(address, set())
        flying.add(current)
        try:
            yield
        finally:
            flying.discard(current)
            if not flying:
                self._in_flight.pop(address, None)

    def note(self, address: str, is_healthy: bool) -> None:
        """Remember how the last try to reach a backend went."""
        self._health[address] = "healthy" if is_healthy else "unhealthy"

    def adopt(self, before: frozenset[str], after: frozenset[str], generation: int) -> list[str]:
        """Take a new table's addresses over; gives those that left, whose idle connections may close."""
        for address in after:
            self._departed.pop(address, None)
        left = [address for address in before if address not in after]
        deadline = time.monotonic() + self._drain_seconds
        for address in left:
            self._departed[address] = (generation, deadline)
        for key in [key for key in self._health if key not in after]:
            del self._health[key]
        return left

    def drained(self, adopted: int) -> int:
        """The newest generation up to which nothing that left is still in flight; cuts what is overdue."""
        now = time.monotonic()
        lowest = adopted
        for address, (generation, deadline) in list(self._departed.items()):
            flying = self._in_flight.get(address)
            if not flying:
                del self._departed[address]
            elif now >= deadline:
                gevent.killall(list(flying), exception=Cut, block=False)
                lowest = min(lowest, generation - 1)
            else:
                lowest = min(lowest, generation - 1)
        return lowest

    def states(self, addresses: frozenset[str], pid: int) -> list[BackendState]:
        """How each address of the table, and each one that drains, is seen now."""
        known = sorted(addresses | set(self._departed))
        return [BackendState(pid, address, self._state(address), self._count(address)) for address in known]

    def _state(self, address: str) -> str:
        return "draining" if address in self._departed else self._health.get(address, "unknown")

    def _count(self, address: str) -> int:
        return len(self._in_flight.get(address, ()))
