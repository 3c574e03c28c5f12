"""The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): who really asks, told first of all."""

from __future__ import annotations

import ipaddress
import logging
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.greeting import Greeting

if TYPE_CHECKING:
    from proxy.client import Client

log = logging.getLogger("proxy")

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LONGEST_LINE = 107
_HEADER = struct.Struct("!12sBBH")
_MOST_BYTES = 4096
_SECONDS = 5.0


class Unreadable(Exception):
    """These bytes are no introduction."""


def read_introduction(data: bytes) -> tuple[int, str] | None:
    """Length of the introduction that `data` begins with, and the address it names (empty: the peer itself).

    None while it is not all there. Raises `Unreadable`.
    """
    if data.startswith(_SIGNATURE[: len(data)]):
        return _read_binary(data)
    if not data.startswith(b"PROXY "[: len(data)]):
        raise Unreadable
    end = data.find(b"\r\n")
    if end < 0:
        if len(data) > _LONGEST_LINE:
            raise Unreadable
        return None
    return end + 2, _read_line(data[:end])


def _read_line(line: bytes) -> str:
    parts = line.split(b" ")
    if parts[1:2] == [b"UNKNOWN"]:
        return ""
    if len(parts) != 6 or parts[1] not in (b"TCP4", b"TCP6"):
        raise Unreadable
    try:
        address = ipaddress.ip_address(parts[2].decode("ascii"))
    except ValueError:
        raise Unreadable from None
    if (address.version == 4) != (parts[1] == b"TCP4"):
        raise Unreadable
    return str(address)


def _read_binary(data: bytes) -> tuple[int, str] | None:
    if len(data) < _HEADER.size:
        return None
    _, version, family, length = _HEADER.unpack_from(data)
    if version not in (0x20, 0x21) or length > _MOST_BYTES:
        raise Unreadable
    size = _HEADER.size + length
    if len(data) < size:
        return None
    body = data[_HEADER.size : size]
    if version == 0x20 or family >> 4 not in (1, 2):
        return size, ""
    number, octets = (socket.AF_INET, 4) if family >> 4 == 1 else (socket.AF_INET6, 16)
    if len(body) < 2 * octets + 4:
        raise Unreadable
    return size, socket.inet_ntop(number, body[:octets])


class Introduction(Greeting):
    """Reads the introduction of a trusted peer's connection, then goes on with `begin(client, address)`.

    An empty address is the peer's own.
    """

    __slots__ = ("_begin", "_seen")

    def __init__(self, client: Client, begin: Callable[[Client, str], None]) -> None:
        self._begin = begin
        self._seen = 0
        super().__init__(client, _SECONDS)

    def go_on(self) -> None:
        """Read what is there of it."""
        client = self.client
        try:
            # Only looked at, since what follows may belong to TLS.
            data = client.sock.recv(_HEADER.size + _MOST_BYTES, socket.MSG_PEEK)
            found = read_introduction(data) if data else None
            if found is not None:
                self._wake_from(1)
                client.sock.recv(found[0])
            elif len(data) > self._seen:
                # What stays in the socket would wake us again and again.
                self._seen = len(data)
                self._wake_from(len(data) + 1)
            else:
                # Nothing new: it has ended.
                client.close()
                return
        except BlockingIOError:
            return
        except (OSError, Unreadable):
            log.warning("%s did not introduce its client by the PROXY protocol: closed.", client.peer)
            client.close()
            return
        if found is not None:
            self.stop()
            self._begin(client, found[1])

    def _wake_from(self, count: int) -> None:
        """Be called when so many bytes are there."""
        self.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
