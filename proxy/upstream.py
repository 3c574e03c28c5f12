"""Connections to backends: opened without waiting, kept alive in their backend's list, dropped when they end."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxy.backends import MOST_IDLE, Backend
from proxy.wire import WOULD_BLOCK, Broken, Wire

if TYPE_CHECKING:
    from proxy.exchange import Exchange

HEAD_PIECE, BODY_PIECE = 16 * 1024, 64 * 1024


class Unreachable(Exception):
    """No connection to a backend could be made."""


class Upstream(Wire):
    """A connection to `backend`; `exchange` is what it carries now, None while it is idle.

    Idle ones stay registered for reading, so that their end is seen at once and not by the next request.
    """

    __slots__ = ("backend", "exchange", "is_connecting", "was_used")

    def __init__(self, loop: Any, backend: Backend, exchange: Exchange) -> None:
        sock = socket.SocketType(backend.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        super().__init__(loop, sock)
        self.backend = backend
        self.exchange: Exchange | None = exchange
        self.was_used = False
        code = sock.connect_ex(backend.sockaddr)
        self.is_connecting = code == errno.EINPROGRESS
        if code and not self.is_connecting:
            self.exchange = None
            self.close()
            raise Unreachable(os.strerror(code))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.is_connecting:
            self.await_writable()
        else:
            self.resume()

    def on_readable(self) -> None:
        exchange = self.exchange
        try:
            if exchange is None:
                # Its end, or bytes that nobody asked for.
                self.leave()
            elif exchange.splice is not None and exchange.splice.source is self:
                exchange.splice_more()
            else:
                data = self.recv(HEAD_PIECE if exchange.response is None else BODY_PIECE)
                if data:
                    exchange.take_answer(data)
                else:
                    exchange.upstream_ended()
        except WOULD_BLOCK:
            return
        except Broken:
            # Only the client was written to.
            if exchange is not None:
                exchange.client_left()
        except OSError:
            # Only our own reading lets one out.
            if exchange is not None:
                exchange.upstream_ended(is_reset=True)
        except Exception:
            self.crashed()

    def on_drained(self) -> None:
        if self.is_connecting:
            self._connected()
        elif self.exchange is not None:
            self.exchange.upstream_drained()

    def _connected(self) -> None:
        self.is_connecting = False
        exchange = self.exchange
        if exchange is None:
            self.close()
        elif self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            exchange.connect_failed()
        else:
            self.resume()
            try:
                exchange.send_request()
            except Broken:
                exchange.connect_failed()

    def on_broken(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_ended(is_reset=True)
        else:
            self.leave()

    def try_to(self, send: Callable[[], None]) -> bool:
        """Send something; False, and closed, when the backend had closed before a byte of it left."""
        try:
            send()
        except Broken:
            self.drop()
            return False
        return True

    def rest(self) -> None:
        """Become idle, for the next request to this backend."""
        self.exchange = None
        self.was_used = True
        backend = self.backend
        if backend.departed is None and len(backend.idle) < MOST_IDLE:
            backend.idle.append(self)
            if not self.is_reading:
                self.resume()
        else:
            self.close()

    def leave(self) -> None:
        """Be no longer idle: closed."""
        if self in self.backend.idle:
            self.backend.idle.remove(self)
        self.close()

    def drop(self) -> None:
        """Close it in the middle of an exchange, which is over."""
        self.exchange = None
        self.close()


def connect(loop: Any, backend: Backend, exchange: Exchange) -> Upstream | None:
    """A new connection, which may still be in the making; None when it is refused at once."""
    try:
        return Upstream(loop, backend, exchange)
    except (Unreachable, OSError):
        return None
