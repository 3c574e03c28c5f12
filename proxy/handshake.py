"""TLS handshakes in the same callbacks as everything else: nobody waits for a slow one."""

from __future__ import annotations

import logging
import socket
import ssl
from typing import TYPE_CHECKING

from proxy.greeting import READ, WRITE, Greeting

if TYPE_CHECKING:
    from proxy.client import Client

log = logging.getLogger("proxy")

_SECONDS = 10.0


class Handshake(Greeting):
    """Makes a client's connection a TLS one, then lets the client begin."""

    __slots__ = ()

    def __init__(self, client: Client, context: ssl.SSLContext) -> None:
        client.secure(context)
        super().__init__(client, _SECONDS)
        self._on_event()

    def go_on(self) -> None:
        """Take the next step of the handshake."""
        client = self.client
        assert isinstance(client.sock, ssl.SSLSocket)  # noqa: S101 - `secure` made it one
        try:
            client.sock.do_handshake()
        except ssl.SSLWantReadError:
            self.wait(READ)
        except ssl.SSLWantWriteError:
            self.wait(WRITE)
        except (OSError, ssl.CertificateError) as error:
            log.debug("TLS handshake with %s failed: %s", client.peer, error)
            client.close()
        else:
            self.stop()
            client.begin()


def wrap(sock: socket.SocketType, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The same connection as a server's TLS socket, its handshake still to come."""
    plain = socket.socket(sock.family, socket.SOCK_STREAM, 0, sock.detach())
    plain.setblocking(False)
    return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
