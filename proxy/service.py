"""What all connections of this process share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import gevent

from proxy.backends import Backends
from proxy.forwarded import Forwarder
from proxy.head import RequestParser
from proxy.limits import Limits
from proxy.response import ResponseParser
from proxy.route import RouteCompiler
from proxy.splice import Pipes, Splice
from proxy.table import RouteTable

if TYPE_CHECKING:
    from proxy.access_log import AccessLog
    from proxy.client import Client
    from proxy.exchange import Exchange
    from proxy.head import RequestHead
    from proxy.route import Routed
    from proxy.wire import Wire


log = logging.getLogger("proxy")

_WATCH_SECONDS = 0.25


class Service:
    """The current table, backends, limits and clients; `is_stopping` ends keep-alive."""

    def __init__(self, forwarder: Forwarder, limits: Limits, drain_seconds: float) -> None:
        self.loop: Any = gevent.get_hub().loop
        self.forwarder = forwarder
        self.limits = limits
        self.requests = RequestParser(limits.max_request_line, limits.max_fields)
        self.responses = ResponseParser()
        self.backends = Backends(drain_seconds)
        self.routes = RouteCompiler(self.backends, limits)
        self.table = RouteTable({}, self.routes.compile)
        self.pipes = Pipes()
        self.clients: set[Client] = set()
        self.held: set[Client] = set()
        # Served without being registered for reading yet.
        self._unwatched: list[Client] = []
        self._timers: set[Any] = set()
        # Coarse: the sweep sets it.
        self.now = time.monotonic()
        self.is_stopping = False
        self.accepted = self.refused = 0
        self.access_log: AccessLog | None = None
        # Told after each connection's end, when a listener waits for room.
        self.on_room: Any = None

    def adopt(self, table: RouteTable, changed: Iterable[str] = ()) -> None:
        """Serve `table`, in which the hosts `changed` are new, from now on; requests in flight end as they began."""
        before, self.table = self.table, table
        table.succeed(before)
        table.compile_checked(changed)
        addresses = {backend.address for route in table.routes() for backend in route.backends}
        self.backends.retain(addresses, table.generation)
        for client in list(self.held):
            if client.held is not None:
                client.held.again()

    def splice(self, source: Wire, target: Wire, length: int) -> Splice | None:
        """Have the kernel move a long body; None when no more files may be opened, so that it is copied."""
        try:
            return Splice(self.pipes, source, target, length)
        except OSError:
            return None

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something once, after a while; for what the sweep would come too late for."""
        timer = self.loop.timer(seconds)
        self._timers.add(timer)

        def once() -> None:
            self._timers.discard(timer)
            timer.stop()
            timer.close()
            try:
                act()
            except Exception:
                log.exception("Something that was due failed")

        timer.start(once)

    def watch_soon(self, client: Client) -> None:
        """Notice when this client leaves, unless it is served in a moment as most are."""
        if not self._unwatched:
            self.later(_WATCH_SECONDS, self._watch)
        self._unwatched.append(client)

    def _watch(self) -> None:
        unwatched, self._unwatched = self._unwatched, []
        for client in unwatched:
            client.watch()

    def forget(self, client: Client) -> None:
        """A connection has ended."""
        self.clients.discard(client)
        self.held.discard(client)
        if self.on_room is not None:
            self.on_room(client)

    def record(
        self, client: Client, request: RequestHead, route: Routed | None, status: int, exchange: Exchange | None
    ) -> None:
        """A request has ended: count it, and write it down where that is wanted."""
        now = time.monotonic()
        seconds = now - exchange.started if exchange is not None else 0.0
        bytes_in = exchange.bytes_in if exchange is not None else 0
        if route is not None:
            route.counters.count(status, seconds, bytes_in, client.bytes_out)
        if self.access_log is not None:
            self.access_log.write(client, request, status, seconds, exchange)

    def sweep(self) -> None:
        """Once in a while: end what is overdue."""
        now = self.now = time.monotonic()
        for client in [client for client in self.clients if client.due <= now]:
            client.overdue()
        overdue = self.backends.overdue()
        if overdue:
            for client in list(self.clients):
                if client.exchange is not None and client.exchange.backend in overdue:
                    client.exchange.cut_off()
        if self.access_log is not None:
            self.access_log.flush()
