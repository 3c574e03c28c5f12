"""How an answer gets to the client: which framing it has there, and its body piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import chunks, fields, splice
from proxy.chunks import ChunkReader
from proxy.fields import Malformed
from proxy.meeting import Meeting, asked_by
from proxy.policies import compression
from proxy.response import ResponseHead
from proxy.splice import Splice

if TYPE_CHECKING:
    from proxy.client import Client
    from proxy.exchange import Exchange
    from proxy.policies.compression import Encoder

_NO_BODY = frozenset((204, 304))


class Answering:
    """Relays one answer. `left` bytes are to come, or `reader` takes chunks, or the connection's end is its end."""

    __slots__ = (
        "_client", "_encoder", "_exchange", "_is_chunked_out", "_keeps", "_reader", "_response", "_reusable",
        "ends_with_connection", "left",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, client: Client, response: ResponseHead) -> None:
        self._exchange = exchange
        self._client = client
        self._response = response
        self._encoder: Encoder | None = None
        self._reader: ChunkReader | None = None
        self._is_chunked_out = False
        self._reusable = response.keeps_alive
        self._keeps = exchange.request.keeps_alive and not client.service.is_stopping
        self.left = 0
        self.ends_with_connection = False

    def begin(self, data: bytes, at: int) -> None:
        """Send the head and what is there of the body, which begins at `at` in `data`."""
        exchange = self._exchange
        self._choose_framing()
        body = data[at:]
        if self._is_whole(body):
            self._client.write(self._head() + self._encoded_whole(body))
            exchange.finish(self._keeps, self._reusable)
            return
        self._client.write(self._head())
        if body or self._reader is not None:
            self.take(body)
        if exchange.upstream is not None:
            self._splice()

    def _choose_framing(self) -> None:
        response, request = self._response, self._exchange.request
        if request.method == b"HEAD" or response.status in _NO_BODY:
            self._reusable = self._reusable and not response.is_chunked
            return
        if response.is_chunked:
            self._reader = ChunkReader()
        elif response.length is not None:
            self.left = response.length
            return
        else:
            self.ends_with_connection = True
            self._reusable = False
        self._is_chunked_out = not request.is_http_10
        self._keeps = self._keeps and self._is_chunked_out

    def _is_whole(self, body: bytes) -> bool:
        if self._reader is not None or self.ends_with_connection:
            return False
        if len(body) > self.left:
            # Bytes that nobody asked for: the connection is not to be trusted with another request.
            self._reusable = False
        return len(body) == self.left

    def _head(self) -> bytes:
        """The head up to its end."""
        exchange, response = self._exchange, self._response
        start, framing = response.start, response.framing
        if not exchange.route.is_verbatim:
            start, framing = self._changed_head()
        if response.status == 204:
            framing = b""
        parts = [start, framing]
        if self._is_chunked_out:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        if not self._keeps:
            parts.append(b"Connection: close\r\n")
        elif exchange.request.is_http_10:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def _changed_head(self) -> tuple[bytes, bytes]:
        exchange, response = self._exchange, self._response
        given, framing = response.fields, response.framing
        if exchange.route.compresses:
            asked = asked_by(self._client, exchange.request)
            lengthy = [*given, (b"Content-Length", b"%d" % response.length)] if response.length is not None else given
            self._encoder = compression.encoder(exchange.route.policy, asked, response.status, lengthy)
            if self._encoder is not None:
                given, framing = compression.encoded(given, self._encoder), b""
                if exchange.request.is_http_10:
                    self._keeps = False
                else:
                    self._is_chunked_out = True
        if exchange.route.rewrite is not None:
            given = exchange.route.rewrite(given)
        cookie = Meeting(self._client, exchange.request, exchange.route).cookie_for(exchange.backend)
        if cookie:
            given = [*given, (b"Set-Cookie", cookie)]
        return response.with_fields(given), framing

    def _encoded_whole(self, body: bytes) -> bytes:
        if self._encoder is None:
            self._client.bytes_out += len(body)
            return body
        content = self._encoder.feed(body) + self._encoder.end()
        self._client.bytes_out += len(content)
        return chunks.framed([content]) + chunks.LAST if self._is_chunked_out else content

    def take(self, data: bytes) -> None:
        """More from the backend. Raises `Broken` when the client is gone."""
        if self._reader is not None:
            self._take_chunks(data)
            return
        if not self.ends_with_connection:
            if len(data) > self.left:
                data = data[: self.left]
                self._reusable = False
            self.left -= len(data)
        self._send([data] if data else [])
        if not (self.left or self.ends_with_connection):
            self.end()

    def _take_chunks(self, data: bytes) -> None:
        reader = self._reader
        assert reader is not None  # noqa: S101 - who calls has looked
        try:
            content = reader.feed(data, fields.RESPONSE_NAMES)
        except Malformed:
            self._exchange.cut()
            return
        if not reader.is_done:
            self._send(content)
            return
        self._reusable = self._reusable and not reader.rest
        self._send(content)
        self.end()

    def _send(self, content: list[bytes]) -> None:
        if not content:
            return
        if self._encoder is not None:
            # What is not flushed would wait for more, which a slow stream may not send for long.
            content = [self._encoder.feed(b"".join(content)) + self._encoder.flush()]
        self._client.bytes_out += sum(map(len, content))
        out = chunks.framed(content) if self._is_chunked_out else b"".join(content)
        upstream = self._exchange.upstream
        if out and not self._client.write(out) and upstream is not None:
            upstream.pause()
        self._client.due_in(self._client.service.limits.stream_timeout)

    def end(self) -> None:
        """All of the body has come."""
        ending = [self._encoder.end()] if self._encoder is not None else []
        self._client.bytes_out += sum(map(len, ending))
        if self._is_chunked_out:
            trailers = self._reader.trailers if self._reader is not None else b""
            self._client.write(chunks.framed(ending) + chunks.last(trailers))
        elif ending:
            self._client.write(b"".join(ending))
        self._exchange.finish(self._keeps, self._reusable)

    def _splice(self) -> None:
        upstream, client = self._exchange.upstream, self._client
        if self.left < splice.SHORTEST or client.is_tls or client.is_blocked or self._encoder is not None:
            return
        if upstream is not None:
            self._exchange.splice = client.service.splice(upstream, client, self.left)

    def spliced(self, came: int, moving: Splice) -> None:
        """The kernel has moved some of the body."""
        self.left = moving.left
        self._client.bytes_out += came
        if moving.is_done:
            self._exchange.end_splice()
            self._exchange.finish(self._keeps, self._reusable)
        else:
            self._client.due_in(self._client.service.limits.stream_timeout)
