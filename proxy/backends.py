"""What this process knows of its backends: who is healthy, what is in flight, idle connections, and who drains."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from proxy.contract import BackendState

if TYPE_CHECKING:
    from proxy.upstream import Upstream

# After so many failures in a row nobody is sent there for a while, as long as there is somebody else.
_FAILURES_UNTIL_EJECTED = 3
_EJECTED_SECONDS = 10.0
MOST_IDLE = 64


class Backend:
    """One address (`host:port`); lives as long as it is in the table, or something is in flight to it."""

    __slots__ = (
        "address", "checked_unhealthy", "departed", "ejected_until", "failures", "family", "idle", "in_flight", "seen",
        "sockaddr",
    )  # fmt: skip

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        number = ipaddress.ip_address(host.strip("[]"))
        if not 0 < int(port) < 65536:
            raise ValueError(f"{port} is no port")
        self.address = address
        self.family = socket.AF_INET6 if number.version == 6 else socket.AF_INET
        self.sockaddr = (str(number), int(port))
        self.idle: list[Upstream] = []
        self.in_flight = 0
        self.failures = 0
        self.ejected_until = 0.0
        # By active checks, which alone may say so before a visitor has to notice.
        self.checked_unhealthy = False
        self.seen = "unknown"
        # The generation without it, and when what is still in flight is cut.
        self.departed: tuple[int, float] | None = None

    def note_success(self) -> None:
        """It answered."""
        if self.failures or self.seen != "healthy":
            self.failures, self.ejected_until, self.seen = 0, 0.0, "healthy"

    def note_failure(self) -> None:
        """No connection, or no answer."""
        self.failures += 1
        self.seen = "unhealthy"
        if self.failures >= _FAILURES_UNTIL_EJECTED:
            self.ejected_until = time.monotonic() + _EJECTED_SECONDS

    def is_preferred(self, now: float) -> bool:
        """Whether to try it before others that are not."""
        return not self.checked_unhealthy and self.ejected_until <= now

    @property
    def health(self) -> str:
        if self.departed:
            return "draining"
        return "unhealthy" if self.checked_unhealthy else self.seen

    def close_idle(self) -> None:
        """End the connections that carry nothing."""
        while self.idle:
            self.idle.pop().close()


class Backends:
    """All backends by address; one that left the table drains until nothing is in flight to it."""

    def __init__(self, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._known: dict[str, Backend] = {}

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._known.values())

    def get(self, address: str) -> Backend:
        """The backend at this address. Raises `ValueError` for what is no address."""
        found = self._known.get(address)
        if found is None:
            found = self._known[address] = Backend(address)
        found.departed = None
        return found

    def retain(self, addresses: Iterable[str], generation: int) -> None:
        """A new table names just these: others take no more requests and drain."""
        wanted = set(addresses)
        deadline = time.monotonic() + self._drain_seconds
        for address, backend in list(self._known.items()):
            if address in wanted:
                backend.departed = None
                continue
            if backend.departed is None:
                backend.departed = (generation, deadline)
            backend.close_idle()
            if not backend.in_flight:
                del self._known[address]

    def again(self, backend: Backend) -> Backend:
        """Who takes a request that `backend` was chosen for before it left: what drains is to be known."""
        return self._known.setdefault(backend.address, backend)

    def drained(self, adopted: int) -> int:
        """The newest generation up to which nothing that left is still in flight; forgets who is done."""
        lowest = adopted
        for address, backend in list(self._known.items()):
            if backend.departed is None:
                continue
            if backend.in_flight:
                lowest = min(lowest, backend.departed[0] - 1)
            else:
                backend.close_idle()
                del self._known[address]
        return lowest

    def overdue(self) -> set[Backend]:
        """Those whose time to drain is over."""
        now = time.monotonic()
        return {backend for backend in self._known.values() if backend.departed and backend.departed[1] <= now}

    def states(self, pid: int) -> list[BackendState]:
        """How each one is seen now."""
        return [BackendState(pid, b.address, b.health, b.in_flight) for _, b in sorted(self._known.items())]
