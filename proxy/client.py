"""One client's connection: its requests in order, each matched, sent to a backend or answered here."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from proxy import handshake, pages, replies
from proxy.exchange import Exchange
from proxy.forwarded import plain_address
from proxy.head import Refused, RequestHead
from proxy.meeting import Meeting
from proxy.policies.base import Answer
from proxy.wire import WOULD_BLOCK, Broken, Wire

if TYPE_CHECKING:
    import socket
    import ssl

    from proxy.greeting import Greeting
    from proxy.route import Routed
    from proxy.service import Service

PIECE = 16 * 1024
_MOST_PIPELINED = 64 * 1024
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 8 * 1024 * 1024
_TUNNEL_LINGER_SECONDS = 5.0
# A client that has closed its side is gone, or has said all it wanted to say; only its reading would tell.
_HALF_CLOSED_SECONDS = 1.0


class Client(Wire):
    """Serves one accepted connection until it ends.

    `exchange` is the request that is at a backend now, `held` one that a paused route makes wait; with neither,
    `is_idle` tells the wait for a request from the wait for the rest of its head. `due` is when the wait is over.
    """

    __slots__ = (
        "_closes",
        "_ending",
        "_has_ended",
        "_is_taking",
        "_lingered",
        "buffer",
        "bytes_out",
        "due",
        "exchange",
        "greeting",
        "held",
        "is_idle",
        "is_lingering",
        "is_tls",
        "peer",
        "service",
    )  # fmt: skip

    def __init__(self, service: Service, sock: socket.SocketType, peer: str, is_tls: bool) -> None:
        super().__init__(service.loop, sock)
        self.service = service
        self.peer = plain_address(peer)
        self.is_tls = is_tls
        self.buffer = b""
        self.exchange: Exchange | None = None
        self.held: Meeting | None = None
        # What comes before the first request: a TLS handshake, or a trusted peer's introduction.
        self.greeting: Greeting | None = None
        self.is_idle = True
        self.is_lingering = False
        self.bytes_out = 0
        self.due = 0.0
        self._ending = b""
        self._closes = False
        self._has_ended = False
        self._is_taking = False
        self._lingered = 0

    def due_in(self, seconds: float) -> None:
        """What is waited for now may take so long."""
        self.due = self.service.now + (min(seconds, _HALF_CLOSED_SECONDS) if self._has_ended else seconds)

    def begin(self) -> None:
        """Serve the first request, which is likely to be here already.

        Many connections carry just one, so they are registered for reading only when they need it, or when the sweep
        finds them still at it: it is then that a client that leaves is noticed.
        """
        self.due_in(self.service.limits.header_timeout)
        self.on_readable()
        if self.exchange is None:
            self.resume()
        elif not self.exchange.is_uploading:
            self.service.watch_soon(self)

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on; the handshake is still to come."""
        self.sock = handshake.wrap(self.sock, context)
        self.recv, self.send = self.sock.recv, self.sock.send

    def watch(self) -> None:
        """Notice from now on when the client leaves."""
        if self.exchange is not None and not self.is_blocked and not self._has_ended:
            self.resume()

    # What comes

    def on_readable(self) -> None:
        exchange = self.exchange
        try:
            if exchange is None or exchange.splice is None or exchange.splice.source is not self:
                data = self.recv(PIECE)
                if exchange is None and data and not self.is_lingering:
                    self.buffer = self.buffer + data if self.buffer else data
                    self.take()
                    if len(self.buffer) > _MOST_PIPELINED and self.exchange is None:
                        # A request that is held back, whose body or successors have to wait.
                        self.pause()
                else:
                    self._take_data(exchange, data)
            else:
                exchange.splice_more()
        except WOULD_BLOCK:
            return
        except Broken:
            # Only the backend was written to.
            if self.exchange is not None:
                self.exchange.upstream_ended(is_reset=True)
        except OSError:
            self._ended()
        except Exception:
            self.crashed()

    def _take_data(self, exchange: Exchange | None, data: bytes) -> None:
        if self.is_lingering:
            self._linger_on(data)
        elif not data or exchange is None:
            self._ended()
        elif exchange.tunnel is not None:
            exchange.tunnel.to_backend(data)
        elif exchange.is_uploading:
            self._take_body(exchange, data)
        else:
            self.buffer += data
            if len(self.buffer) > _MOST_PIPELINED:
                self.pause()

    def _take_body(self, exchange: Exchange, data: bytes) -> None:
        try:
            self.buffer += exchange.take_body(data)
        except Refused as refused:
            exchange.refuse(refused)

    def take(self) -> None:
        """Serve the requests that are there, one after the other."""
        if self._is_taking or not self._may_take:
            return
        self._is_taking = True
        try:
            while self._take_one():
                if not self.buffer or self.exchange is not None or not self._may_take:
                    break
        finally:
            self._is_taking = False

    def go_on_taking(self) -> None:
        """Serve what has gathered meanwhile."""
        if self.buffer and self.exchange is None:
            self.take()

    @property
    def _may_take(self) -> bool:
        return self.is_open and not (self.held or self.is_blocked or self.is_lingering or self._closes)

    def _take_one(self) -> bool:
        buffer = self.buffer
        # Empty lines before a request are skipped (RFC 9112, 2.2).
        while buffer.startswith(b"\r\n"):
            buffer = self.buffer = buffer[2:]
        end = buffer.find(b"\r\n\r\n")
        limits = self.service.limits
        try:
            if end < 0 or end > limits.max_head_bytes:
                self._check_partial(buffer)
                return False
            request = self.service.requests.parse(buffer[:end])
        except Refused as refused:
            replies.refuse(self, refused, is_head=buffer.startswith(b"HEAD "))
            return False
        self.buffer = buffer[end + 4 :]
        self.is_idle = False
        self.bytes_out = 0
        if request.target.startswith(replies.CHALLENGES) and not self.is_tls and replies.challenge(self, request):
            return True
        hosts = self.service.table.find(request.host)
        route = None if hosts is None else hosts.root or hosts.match(request.path)
        if route is None:
            host = request.host.decode("ascii")
            replies.reply(self, request, None, Answer(404, *pages.unknown_host(host)))
        elif route.is_plain:
            self.forward(request, route)
        else:
            Meeting(self, request, route).begin()
        return True

    def _check_partial(self, buffer: bytes) -> None:
        """Raises `Refused` for a beginning that can become no request."""
        limits = self.service.limits
        if buffer.find(b"\r\n", 0, limits.max_request_line + 2) < 0 and len(buffer) > limits.max_request_line:
            raise Refused(414, "The request's address is too long.")
        if len(buffer) > limits.max_head_bytes:
            raise Refused(431, "The request's head is too large.")
        if buffer.count(b"\n") != buffer.count(b"\r\n"):
            raise Refused(400, "Lines must end with CR LF.")
        if self.is_idle and buffer:
            self.is_idle = False
            self.due_in(limits.header_timeout)

    # One request

    def forward(self, request: RequestHead, route: Routed, meeting: Meeting | None = None) -> None:
        """Send the request to a backend of the route."""
        backends = route.order(meeting.wanted_backend if meeting else None)
        if not backends:
            replies.unavailable(self, request, route)
            return
        if self.service.forwarder.trusts_anybody and request.fields.block.claims:
            lines = self.service.forwarder.lines(request, self.peer, self.is_tls)
        else:
            if not self._ending:
                self._ending = self.service.forwarder.ending(self.peer, self.is_tls)
            lines = request.lines() + self._ending
        exchange = self.exchange = Exchange(self, request, route, backends)
        rest, self.buffer = self.buffer, b""
        try:
            self.buffer = exchange.start(lines, rest)
        except Refused as refused:
            exchange.refuse(refused)

    # What an exchange tells

    def exchange_ended(self, keeps: bool, has_unread: bool) -> None:
        """The answer was sent whole."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            self.service.record(self, exchange.request, exchange.route, exchange.status, exchange)
        self.go_on(keeps, has_unread)

    def exchange_ended_well(self, exchange: Exchange, keeps: bool) -> None:
        """The same for the usual case, in which nothing is left unread."""
        self.exchange = None
        service = self.service
        if service.access_log is None:
            seconds = time.monotonic() - exchange.started
            exchange.route.counters.count(exchange.status, seconds, exchange.bytes_in, self.bytes_out)
        else:
            service.record(self, exchange.request, exchange.route, exchange.status, exchange)
        if not keeps or self._has_ended or not self.is_reading:
            self.go_on(keeps, has_unread=False)
            return
        self.is_idle = True
        self.due = service.now + service.limits.idle_timeout
        if self.buffer:
            self.take()

    def go_on(self, keeps: bool, has_unread: bool) -> None:
        """After an answer: wait for the next request, or end."""
        if not keeps or (self._has_ended and not self.buffer):
            self.end(lingers=not self._has_ended and (has_unread or bool(self.buffer)))
            return
        self.is_idle = True
        self.due_in(self.service.limits.idle_timeout)
        if not self._has_ended:
            self.resume()
        if self.buffer:
            self.take()

    def abort(self, exchange: Exchange) -> None:
        """Close in the middle of an answer, so that the client sees that what it got is not whole."""
        self.exchange = None
        self.service.record(self, exchange.request, exchange.route, exchange.status, exchange)
        # Without a length or chunks the connection's end would look like the answer's.
        self.close(resets=exchange.request.is_http_10 and exchange.response is not None)

    # The end

    def end(self, lingers: bool) -> None:
        """Close once all is written; read a little of what still comes, since that would reset the answer away."""
        self.is_lingering = lingers
        self.buffer = b""
        if self.is_blocked:
            self._closes = True
            self.due_in(self.service.limits.body_timeout)
            return
        if not lingers:
            self.close()
            return
        # RFC 9112, 9.6.
        self.end_writing()
        self.due_in(_LINGER_SECONDS)
        self.resume()

    def _linger_on(self, data: bytes) -> None:
        self._lingered += len(data)
        if not data or self._lingered > _LINGER_BYTES:
            self.close()

    def _ended(self) -> None:
        """The client has closed its side."""
        exchange = self.exchange
        if exchange is None:
            if self.held is None:
                self.close()
            else:
                # Who sent all of it and only listens now is served if that is soon; so is nobody else.
                self.pause()
                self._has_ended = True
                self.due_in(_HALF_CLOSED_SECONDS)
        elif exchange.tunnel is not None:
            self.pause()
            if exchange.tunnel.has_backend_ended and not self.is_blocked:
                exchange.cut()
                return
            exchange.tunnel.end_writing()
            self.due_in(_TUNNEL_LINGER_SECONDS)
        elif exchange.is_uploading:
            exchange.client_left()
        else:
            self.pause()
            self._has_ended = True
            self.due_in(_HALF_CLOSED_SECONDS)
            # The sweep may be too late for a backend that works for nobody.
            self.service.later(_HALF_CLOSED_SECONDS, partial(self._half_closed_for_long, self.bytes_out))

    def _half_closed_for_long(self, sent: int) -> None:
        if self.exchange is not None and not self.is_blocked and self.bytes_out == sent:
            self.exchange.client_left()

    def tunnel_ended(self) -> None:
        """The backend's side of a tunnel has ended; the client may have more to say for a moment."""
        exchange = self.exchange
        if exchange is not None and exchange.tunnel is not None:
            exchange.tunnel.backend_ended()
        self._closes = True
        self.due_in(_TUNNEL_LINGER_SECONDS)
        if not self.is_blocked:
            self.on_drained()

    def on_drained(self) -> None:
        exchange = self.exchange
        if self._closes:
            self._closes = False
            if exchange is not None and exchange.tunnel is not None:
                self.end_writing()
                self.resume()
            else:
                self.end(self.is_lingering)
        elif exchange is not None:
            exchange.client_drained()
        elif self.buffer:
            self.take()

    def on_broken(self) -> None:
        if self.exchange is not None:
            self.exchange.client_left()
        else:
            self.close()

    def close(self, resets: bool = False) -> None:
        if self.greeting is not None:
            # Its watcher must not outlive the descriptor.
            self.greeting.stop()
        super().close(resets)

    def on_closed(self) -> None:
        self.service.forget(self)

    def overdue(self) -> None:
        """What was waited for did not come in time."""
        if self.held is not None:
            self.held.client_left() if self._has_ended else self.held.give_up()
        elif self.exchange is not None:
            self.exchange.client_left() if self._has_ended else self.exchange.overdue()
        elif self.is_lingering or self.is_idle or self._closes:
            self.close()
        else:
            replies.refuse(self, Refused(408, "The request did not come in time."))

    def stop(self) -> None:
        """End as soon as nobody loses anything by it."""
        if self.exchange is None and self.held is None and self.is_idle and not self.buffer:
            self.close()

    @property
    def is_tunnel(self) -> bool:
        return self.exchange is not None and self.exchange.tunnel is not None
