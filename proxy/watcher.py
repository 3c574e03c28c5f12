"""Keeps the table in step with routes.db, and tells the control plane what is adopted, drained and counted."""

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from proxy import contract, table
from proxy.contract import CertificateFiles, ProcessState
from proxy.service import Service
from proxy.table import RouteTable
from proxy.tls import Certificates
from proxy.traffic import Tally

log = logging.getLogger("proxy")

_READ = 1
# The safety net for a lost wake-up; and how soon the end of a drain is noticed.
_POLL_SECONDS, _DRAIN_LOOK_SECONDS = 1.0, 0.02
# A wait for a lock would stop all connections, so it is short; the next round tries again.
_BUSY_SECONDS = 0.05
_REPORT_SECONDS = 1.0
_CACHE_KIB = 256


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
        self._process: ProcessState | None = None
        self._tally = Tally(service.routes.counters)
        self._began = time.time()
        self._next_report = self._next_try = 0.0
        self._complaints: dict[Path, str] = {}
        self._wake = contract.wake_socket(routes)
        self._woken: Any = service.loop.io(self._wake.fileno(), _READ)
        self._timer: Any = service.loop.timer(_POLL_SECONDS)

    def start(self) -> None:
        """Look whenever somebody says so, and once a second."""
        self._woken.start(self._on_wake)
        self._round()

    def _on_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._wake.recv(16)
        self._round()

    def _round(self) -> None:
        is_draining = False
        try:
            self.look()
            is_draining = self.tell() < self._service.table.generation
        except Exception:
            # Without this no route would ever change again.
            log.exception("Looking at the route table failed; trying again")
        self._timer.stop()
        self._timer.close()
        self._timer = self._service.loop.timer(_DRAIN_LOOK_SECONDS if is_draining else _POLL_SECONDS)
        self._timer.start(self._round)

    def look(self) -> None:
        """Load the table if its generation is another one."""
        service = self._service
        try:
            connection = self._open_routes()
            if connection is None or contract.generation(connection) == service.table.generation:
                return
            news = contract.read_changes(connection, service.table.generation)
            before = {} if news.is_whole else service.table.texts
            texts = table.changed_texts(before, news.routes, news.removed)
            found = RouteTable(texts, service.routes.compile, news.generation)
            found.challenges = {token.encode(): answer for token, answer in news.challenges}
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            self._close_routes()
            self._complain(self._routes_path, f"The route table cannot be read ({error}); serving what I have")
            return
        self._complaints.pop(self._routes_path, None)
        service.adopt(found, [host for host, _, _ in news.routes])
        if self._certificates is not None:
            self._certificates.adopt(tuple(CertificateFiles(*row) for row in news.certificates))

    def _open_routes(self) -> sqlite3.Connection | None:
        """The open table; opened anew when the file is another one than before, kept when it is gone."""
        try:
            inode = os.stat(self._routes_path).st_ino
        except OSError as error:
            if self._routes is not None:
                self._complain(self._routes_path, f"The route table is gone ({error.strerror}); serving what I have")
            return self._routes
        if self._routes is None or inode != self._inode:
            self._close_routes()
            self._routes = contract.open_routes(self._routes_path, read_only=True)
            self._routes.execute(f"PRAGMA busy_timeout={int(_BUSY_SECONDS * 1000)}")
            # It is read once, and then only what changes.
            self._routes.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._inode = inode
        return self._routes

    def _close_routes(self) -> None:
        if self._routes is not None:
            self._routes.close()
            self._routes = None

    def tell(self) -> int:
        """Write down what is adopted and drained at once, all else once a second, where it changed; gives `drained`."""
        service = self._service
        adopted = service.table.generation
        drained = service.backends.drained(adopted)
        is_news = (adopted, drained) != self._told
        now = time.monotonic()
        if now < self._next_try or not (is_news or now >= self._next_report):
            return drained
        try:
            if is_news:
                contract.acknowledge(self._open_state(), os.getpid(), adopted, drained)
                self._told = (adopted, drained)
            self._report(is_news, now)
            self._complaints.pop(self._state_path, None)
        except sqlite3.Error as error:
            # Each try may wait for a lock, so they are rare.
            self._next_try = now + _POLL_SECONDS
            self._close_state()
            self._complain(self._state_path, f"The proxy's state cannot be written ({error}); serving on")
        return drained

    def _report(self, is_news: bool, now: float) -> None:
        pid, service = os.getpid(), self._service
        # Who hears of a new table wants to know at once what drains; all else may wait.
        states = service.backends.states(pid)
        if states != self._reported and (is_news or now >= self._next_report):
            contract.report(self._open_state(), pid, states)
            self._reported = states
        if now < self._next_report:
            return
        self._next_report = now + _REPORT_SECONDS
        self._report_traffic()
        in_flight = sum(backend.in_flight for backend in service.backends)
        process = ProcessState(pid, len(service.clients), in_flight, service.accepted, self._began)
        if process != self._process:
            contract.report_process(self._open_state(), process)
            self._process = process

    def _report_traffic(self) -> None:
        totals, minutes = self._tally.news()
        if totals:
            contract.report_traffic(self._open_state(), os.getpid(), totals)
            contract.add_minutes(self._open_state(), minutes)
            self._tally.told(totals)

    def _open_state(self) -> sqlite3.Connection:
        if self._state is None:
            self._state = contract.open_state(self._state_path, wait_seconds=_BUSY_SECONDS)
            contract.forget_dead(self._state, self._routes_path)
        return self._state

    def _close_state(self) -> None:
        self._told = self._process = None
        self._tally.forget()
        if self._state is not None:
            self._state.close()
            self._state = None

    def _complain(self, file: Path, words: str) -> None:
        # Once, not each second.
        if self._complaints.get(file) != words:
            self._complaints[file] = words
            log.error("%s: %s.", words, file)

    def leave(self) -> None:
        """Take back what this process said, at its end."""
        self._woken.stop()
        self._timer.stop()
        self._wake.close()
        with contextlib.suppress(sqlite3.Error):
            self._report_traffic()
            contract.forget(self._open_state(), os.getpid())
        self._close_state()
        self._close_routes()
