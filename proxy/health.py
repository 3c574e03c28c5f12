"""Active checks: each backend of a route that wants it is asked now and then, before a visitor has to notice."""

from __future__ import annotations

import errno
import logging
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.policies.base import complain, number

if TYPE_CHECKING:
    from proxy.backends import Backend
    from proxy.service import Service

log = logging.getLogger("proxy")

_READ, _WRITE = 1, 2
_ROUND_SECONDS = 0.5
# Some leave out the space before the missing reason.
_STATUS = re.compile(rb"HTTP/1\.[01] 2[0-9]{2}[ \r]")
_PATH = re.compile(r"/[\x21-\x7e]*")
_ENOUGH = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask for, how often, how long to wait (seconds), and how many failures in a row are one too many."""

    path: str
    interval: float
    timeout: float
    threshold: int


def read_plan(value: object, app: str) -> Plan | None:
    """The policy's `health`; what of it cannot be used is logged and has its default."""
    if not isinstance(value, dict):
        complain(app, "health", "not an object")
        return None
    path = value.get("path", "/")
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        complain(app, "health", "path is not a path in ASCII")
        path = "/"
    return Plan(
        path,
        number(value, "interval", 10.0, app),
        number(value, "timeout", 5.0, app),
        max(1, int(number(value, "threshold", 3, app))),
    )


class Checker:
    """Asks each backend in turn as its route's `health` policy says."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._timer: Any = service.loop.timer(_ROUND_SECONDS, _ROUND_SECONDS)

    def start(self) -> None:
        """Begin to ask."""
        self._timer.start(self._round)

    def _round(self) -> None:
        try:
            now = time.monotonic()
            wanted: dict[str, float] = {}
            for route in self._service.table.routes():
                if route.health is None:
                    continue
                for backend in route.backends:
                    wanted[backend.address] = self._due.get(backend.address, now)
                    if wanted[backend.address] <= now:
                        wanted[backend.address] = now + route.health.interval
                        self._ask(backend, route.health, route.host)
            for backend in self._service.backends:
                if backend.checked_unhealthy and backend.address not in wanted:
                    # Nobody asks any more, so nobody would take it in again.
                    backend.checked_unhealthy = False
            self._due = wanted
            self._failures = {address: n for address, n in self._failures.items() if address in wanted}
        except Exception:
            log.exception("Checking backends failed")

    def _ask(self, backend: Backend, plan: Plan, host: str) -> None:
        def tell(is_healthy: bool) -> None:
            failures = self._failures[backend.address] = 0 if is_healthy else self._failures.get(backend.address, 0) + 1
            before, backend.checked_unhealthy = backend.checked_unhealthy, failures >= plan.threshold
            if is_healthy:
                backend.note_success()
            if before != backend.checked_unhealthy:
                log.warning("%s of %s is %shealthy.", backend.address, host, "un" if failures else "")

        Probe(self._service.loop, backend, plan.path, host, tell).start(plan.timeout)


class Probe:
    """One question to one backend; `tell` hears whether it answered 2xx in time."""

    def __init__(self, loop: Any, backend: Backend, path: str, host: str, tell: Any) -> None:
        self._loop = loop
        self._backend = backend
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rivetr-health\r\nConnection: close\r\n\r\n"
        self._tell = tell
        self._answer = b""
        self._sock = socket.socket(backend.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._watcher: Any = None
        self._timer: Any = None

    def start(self, timeout: float) -> None:
        """Ask."""
        self._timer = self._loop.timer(timeout)
        self._timer.start(self._end, False)
        code = self._sock.connect_ex(self._backend.sockaddr)
        if code not in (0, errno.EINPROGRESS):
            self._end(False)
            return
        self._watcher = self._loop.io(self._sock.fileno(), _WRITE)
        self._watcher.start(self._on_writable)

    def _on_writable(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._watcher = None
        try:
            self._sock.send(self._request.encode("ascii", "replace"))
        except OSError:
            self._end(False)
            return
        self._watcher = self._loop.io(self._sock.fileno(), _READ)
        self._watcher.start(self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(_ENOUGH)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._answer += data
        if not data or len(self._answer) >= 13:
            self._end(bool(_STATUS.match(self._answer)))

    def _end(self, is_healthy: bool) -> None:
        for watcher in (self._watcher, self._timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._watcher = self._timer = None
        self._sock.close()
        self._tell(is_healthy)
