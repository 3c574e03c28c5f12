"""TLS handshakes in the same callbacks as everything else: nobody waits for a slow one."""

from __future__ import annotations

import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.client import Client

log = logging.getLogger("proxy")

_READ, _WRITE = 1, 2
_HANDSHAKE_SECONDS = 10.0


class Handshake:
    """Makes a client's connection a TLS one, then lets the client begin."""

    __slots__ = ("_client", "_watcher")

    def __init__(self, client: Client, context: ssl.SSLContext) -> None:
        self._client = client
        client.due_in(_HANDSHAKE_SECONDS)
        client.secure(context)
        self._watcher: Any = client.service.loop.io(client.sock.fileno(), _READ)
        self._watcher.start(self._go_on)
        self._go_on()

    def _go_on(self) -> None:
        client = self._client
        if not client.is_open:
            self._end()
            return
        sock = client.sock
        assert isinstance(sock, ssl.SSLSocket)  # noqa: S101 - `secure` made it one
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self._wait(_READ)
        except ssl.SSLWantWriteError:
            self._wait(_WRITE)
        except (OSError, ssl.CertificateError) as error:
            log.debug("TLS handshake with %s failed: %s", client.peer, error)
            self._end()
            client.close()
        except Exception:
            log.exception("A TLS handshake failed")
            self._end()
            client.close()
        else:
            self._end()
            client.begin()

    def _wait(self, events: int) -> None:
        if self._watcher.events != events:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = self._client.service.loop.io(self._client.sock.fileno(), events)
            self._watcher.start(self._go_on)

    def _end(self) -> None:
        self._watcher.stop()
        self._watcher.close()


def wrap(sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The same connection as a server's TLS socket, its handshake still to come."""
    return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
