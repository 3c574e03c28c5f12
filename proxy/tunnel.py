"""Bytes both ways between two connections that have left HTTP behind (RFC 9110, 7.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.client import Client
    from proxy.response import ResponseHead
    from proxy.upstream import Upstream


class Tunnel:
    """What a request turned into when its backend agreed to switch to the `upgrade` that it asked for.

    `size` is what the client sent through it. Whoever takes nothing stops the other one from being read.
    """

    __slots__ = ("_client", "_upstream", "has_backend_ended", "size")

    def __init__(self, client: Client, upstream: Upstream) -> None:
        self._client = client
        self._upstream = upstream
        self.has_backend_ended = False
        self.size = 0

    def begin(self, response: ResponseHead, upgrade: bytes, data: bytes) -> None:
        """Tell the client, and pass on what either side has said already. Raises `Broken`."""
        client = self._client
        early, client.buffer = client.buffer, b""
        client.resume()
        client.write(response.start + b"Connection: Upgrade\r\nUpgrade: %s\r\n\r\n" % upgrade)
        self.to_client(data)
        if early:
            self.to_backend(early)

    def to_client(self, data: bytes) -> None:
        """The backend's bytes. Raises `Broken` when the client is gone."""
        client = self._client
        client.due_in(client.service.limits.stream_timeout)
        client.bytes_out += len(data)
        if data and not client.write(data):
            self._upstream.pause()

    def to_backend(self, data: bytes) -> None:
        """The client's bytes. Raises `Broken` when the backend is gone."""
        client = self._client
        client.due_in(client.service.limits.stream_timeout)
        self.size += len(data)
        if not self._upstream.write(data):
            client.pause()

    def end_writing(self) -> None:
        """The client has said all it wanted to say."""
        self._upstream.end_writing()

    def backend_ended(self) -> None:
        """The backend has said all it wanted to say."""
        self.has_backend_ended = True
        self._upstream.pause()
