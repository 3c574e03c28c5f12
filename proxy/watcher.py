"""Keeps the table in step with routes.db, and tells the control plane what is adopted and drained."""

import contextlib
import logging
import os
import sqlite3
from pathlib import Path

from gevent import socket

from proxy import contract
from proxy.service import Service
from proxy.table import RouteTable
from proxy.tls import Certificates

log = logging.getLogger("proxy")

# The safety net for a lost wake-up; and how soon the end of a drain is noticed.
_POLL_SECONDS, _DRAIN_LOOK_SECONDS = 1.0, 0.02
# A wait for a lock would stop all connections, so it is short; the next round tries again.
_BUSY_MILLISECONDS = 50


class Watcher:
    """Reads `routes`, writes `state`; whatever happens to either file, the proxy serves on."""

    def __init__(self, service: Service, certificates: Certificates | None, routes: Path, state: Path) -> None:
        self._service = service
        self._certificates = certificates
        self._routes_path, self._state_path = routes, state
        self._routes: sqlite3.Connection | None = None
        self._inode = 0
        self._state: sqlite3.Connection | None = None
        self._told: tuple[int, int] | None = None
        self._reported: list[contract.BackendState] = []
        self._complaint = ""
        self._wake = contract.wake_socket(routes)

    def run(self) -> None:
        """Look, tell, wait; for ever."""
        while True:
            self.look()
            drained = self.tell()
            self._service.pool.sweep()
            is_draining = drained < self._service.table.generation
            self._wait(_DRAIN_LOOK_SECONDS if is_draining else _POLL_SECONDS)

    def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            socket.wait_read(self._wake.fileno(), timeout=seconds)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._wake.recv(16)

    def look(self) -> None:
        """Load the table if its generation is another one."""
        try:
            connection = self._open_routes()
            if connection is None or contract.generation(connection) == self._service.table.generation:
                return
            snapshot = contract.read(connection)
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            self._close_routes()
            self._complain(f"The route table {self._routes_path} cannot be read ({error}); serving what I have.")
            return
        self._complaint = ""
        self._service.adopt(RouteTable(snapshot))
        if self._certificates is not None:
            self._certificates.adopt(snapshot.certificates)

    def _open_routes(self) -> sqlite3.Connection | None:
        """The open table; opened anew when the file is another one than before, kept when it is gone."""
        try:
            inode = os.stat(self._routes_path).st_ino
        except OSError:
            return self._routes
        if self._routes is None or inode != self._inode:
            self._close_routes()
            self._routes = contract.open_routes(self._routes_path, read_only=True)
            self._routes.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
            self._inode = inode
        return self._routes

    def _close_routes(self) -> None:
        if self._routes is not None:
            self._routes.close()
            self._routes = None

    def tell(self) -> int:
        """Write down what is adopted, drained and seen of the backends, where it changed; gives `drained`."""
        service, pid = self._service, os.getpid()
        adopted = service.table.generation
        drained = service.backends.drained(adopted)
        states = service.backends.states(service.table.addresses, pid)
        if (adopted, drained) == self._told and states == self._reported:
            return drained
        try:
            state = self._open_state()
            if (adopted, drained) != self._told:
                contract.acknowledge(state, pid, adopted, drained)
                self._told = (adopted, drained)
            contract.report(state, pid, states)
            self._reported = states
        except sqlite3.Error as error:
            self._close_state()
            self._complain(f"{self._state_path} cannot be written ({error}); serving on.")
        return drained

    def _open_state(self) -> sqlite3.Connection:
        if self._state is None:
            self._state = contract.open_state(self._state_path)
            self._state.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
            contract.forget_dead(self._state, self._routes_path)
        return self._state

    def _close_state(self) -> None:
        self._told = None
        if self._state is not None:
            self._state.close()
            self._state = None

    def _complain(self, words: str) -> None:
        # Once, not each second.
        if words != self._complaint:
            self._complaint = words
            log.error("%s", words)

    def leave(self) -> None:
        """Take back what this process said, at its end."""
        self._wake.close()
        with contextlib.suppress(sqlite3.Error):
            contract.forget(self._open_state(), os.getpid())
        self._close_state()
        self._close_routes()
