"""Listeners, the sweep that ends what is overdue, and an end that lets requests finish."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from proxy.client import Client
from proxy.forwarded import plain_address
from proxy.handshake import Handshake
from proxy.proxy_protocol import Introduction
from proxy.service import Service

if TYPE_CHECKING:
    from proxy.tls import Certificates

log = logging.getLogger("proxy")

_BACKLOG = 4096
_READ = 1
# Taken at a time, so that a flood of new connections does not keep the old ones waiting.
_ACCEPTED_AT_ONCE = 64
_DEFER_SECONDS = 5
_NO_FILES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
SLOWEST_SWEEP = 1.0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, which another proxy process may open beside us to take over. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def inherited(descriptor: int) -> socket.socket:
    """The listening socket that our parent opened. Raises `OSError` for what is none."""
    listener = socket.socket(fileno=descriptor)
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError(errno.EINVAL, f"descriptor {descriptor} is no listening socket")
    return listener


class Listener:
    """Accepts on one socket; rests while there are no descriptors or no room for more."""

    def __init__(self, server: Server, sock: socket.socket, is_tls: bool) -> None:
        sock.setblocking(False)
        # Accepted sockets inherit it, which saves a call each; and they wake us with their first bytes only.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)
        self._server = server
        self.sock = sock
        self._family = sock.family
        self._is_tls = is_tls
        self._watcher: Any = server.service.loop.io(sock.fileno(), _READ)
        self.is_resting = True
        self.resume()

    def resume(self) -> None:
        """Accept (again)."""
        if self.is_resting and self.sock.fileno() >= 0:
            self.is_resting = False
            self._watcher.start(self._on_readable)

    def rest(self) -> None:
        """Accept no more until `resume`; clients wait in the kernel's queue."""
        self.is_resting = True
        self._watcher.stop()

    def _on_readable(self) -> None:
        try:
            for _ in range(_ACCEPTED_AT_ONCE):
                if self.is_resting or not self._accept():
                    return
        except Exception:
            log.exception("Accepting a connection failed")

    def _accept(self) -> bool:
        try:
            # As `accept` does, but without asking for the family and kind that are the listener's.
            descriptor, address = self.sock._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_FILES:
                self.rest()
                log.error("No more connections can be accepted for now: %s.", error.strerror)
                return False
            # It ended before we came to it.
            return True
        sock = socket.SocketType(self._family, socket.SOCK_STREAM, 0, descriptor)
        self._server.welcome(sock, address[0], self._is_tls)
        return True

    def close(self) -> None:
        """Accept never again; whoever waits in the queue of a socket that nobody else holds is refused."""
        self.rest()
        self._watcher.close()
        self.sock.close()


class Server:
    """Accepts connections on plain and TLS listeners and looks after them."""

    def __init__(self, service: Service, certificates: Certificates | None, expects_introduction: bool = False) -> None:
        self.service = service
        self._certificates = certificates
        self._expects_introduction = expects_introduction
        self._listeners: list[Listener] = []
        self._by_peer: dict[str, int] = {}
        limits = service.limits
        shortest = min(limits.header_timeout, limits.idle_timeout, limits.body_timeout, limits.connect_timeout,
                       limits.first_byte_timeout, limits.stream_timeout)  # fmt: skip
        every = min(SLOWEST_SWEEP, shortest / 4)
        self._sweeper: Any = service.loop.timer(every, every)
        service.on_room = self._left

    def start(self, plain: Sequence[socket.socket], tls: Sequence[socket.socket]) -> None:
        """Begin to accept."""
        self._listeners = [Listener(self, sock, False) for sock in plain]
        self._listeners += [Listener(self, sock, True) for sock in tls]
        self._sweeper.start(self._sweep)

    def _sweep(self) -> None:
        try:
            self.service.sweep()
            if self._has_room() and not self.service.is_stopping:
                for listener in self._listeners:
                    listener.resume()
        except Exception:
            log.exception("Looking after connections failed")

    def _has_room(self) -> bool:
        most = self.service.limits.max_connections
        return not most or len(self.service.clients) < most

    def welcome(self, sock: socket.SocketType, peer: str, is_tls: bool) -> None:
        """Serve an accepted connection."""
        service = self.service
        sock.setblocking(False)
        client = Client(service, sock, peer, is_tls)
        service.clients.add(client)
        service.accepted += 1
        if not self._may_stay(client):
            return
        if self._expects_introduction and service.forwarder.is_trusted(client.peer):
            Introduction(client, self._introduced)
        else:
            self._begin(client)
        if not self._has_room():
            for listener in self._listeners:
                listener.rest()

    def _may_stay(self, client: Client) -> bool:
        """Count it for its address, and close it when that has too many."""
        most = self.service.limits.max_connections_per_client
        count = self._by_peer[client.peer] = self._by_peer.get(client.peer, 0) + 1
        if not most or count <= most or self.service.forwarder.is_trusted(client.peer):
            return True
        self.service.refused += 1
        client.close(resets=True)
        return False

    def _introduced(self, client: Client, address: str) -> None:
        """A trusted peer has said for whom it speaks."""
        if address:
            self._left(client)
            client.peer = plain_address(address)
            if not self._may_stay(client):
                return
        self._begin(client)

    def _begin(self, client: Client) -> None:
        if not client.is_tls:
            client.begin()
        elif self._certificates is not None:
            Handshake(client, self._certificates.default)

    def _left(self, client: Client) -> None:
        count = self._by_peer.get(client.peer, 0) - 1
        if count > 0:
            self._by_peer[client.peer] = count
        else:
            self._by_peer.pop(client.peer, None)

    def stop(self) -> None:
        """Accept no more, and end each connection as soon as its client loses nothing by it."""
        self.drain()
        for client in list(self.service.clients):
            client.stop()

    def drain(self) -> None:
        """Accept no more; connections that are kept alive end with their next answer."""
        self.service.is_stopping = True
        while self._listeners:
            self._listeners.pop().close()

    def has_ended(self, counts_tunnels: bool) -> bool:
        """Whether nobody is served any more."""
        return not any(counts_tunnels or not client.is_tunnel for client in self.service.clients)

    def cut(self) -> None:
        """End all connections now."""
        for client in list(self.service.clients):
            client.close()
