"""Listeners, and an end that lets requests finish."""

import contextlib
import logging
import ssl
import time
from collections.abc import Sequence

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.server import StreamServer

from proxy.connection import Connection
from proxy.service import Service
from proxy.tls import Certificates

log = logging.getLogger("proxy")

MOST_CONNECTIONS = 10_000
STOP_SECONDS = 5.0
_HANDSHAKE_SECONDS = 10.0
_BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit it, which saves a call each.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class Server:
    """Accepts connections on plain and TLS listeners, a greenlet each."""

    def __init__(self, service: Service, certificates: Certificates | None) -> None:
        self._service = service
        self._certificates = certificates
        self._connections: set[Connection] = set()
        self._pool = Pool(MOST_CONNECTIONS)
        self._servers: list[StreamServer] = []

    def start(self, plain: Sequence[socket.socket], tls: Sequence[socket.socket]) -> None:
        """Begin to accept."""
        self._servers = [StreamServer(each, self._plain, spawn=self._pool) for each in plain]
        self._servers += [StreamServer(each, self._tls, spawn=self._pool) for each in tls]
        for server in self._servers:
            server.start()

    def _plain(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self._serve(sock, address[0], is_tls=False)

    def _tls(self, sock: socket.socket, address: tuple[str, int]) -> None:
        if self._certificates is None:
            return
        sock.settimeout(_HANDSHAKE_SECONDS)
        try:
            wrapped = self._certificates.default.wrap_socket(sock, server_side=True)
        except (OSError, ssl.CertificateError) as error:
            log.debug("TLS handshake with %s failed: %s", address[0], error)
            sock.close()
            return
        self._serve(wrapped, address[0], is_tls=True)

    def _serve(self, sock: socket.socket, peer: str, is_tls: bool) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection = Connection(self._service, sock, peer, is_tls)
        self._connections.add(connection)
        try:
            connection.run()
        except Exception:
            # One connection's trouble must never be another's.
            log.exception("A connection from %s failed", peer)
        finally:
            self._connections.discard(connection)
            with contextlib.suppress(OSError):
                sock.close()

    def stop(self) -> None:
        """Accept no more, end idle connections, let requests finish for `STOP_SECONDS`, then cut; tunnels too."""
        self._service.stopping = True
        for server in self._servers:
            server.close()
        deadline = time.monotonic() + STOP_SECONDS
        while any(not connection.is_tunnel for connection in self._connections) and time.monotonic() < deadline:
            for connection in list(self._connections):
                connection.end()
            gevent.sleep(0.02)
        self._pool.kill(block=False)
