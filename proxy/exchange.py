"""One request to a backend and its answer back, streamed both ways, driven by what the two sockets have to say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from proxy import chunks, fields
from proxy.answer import Answering
from proxy.chunks import ChunkReader
from proxy.fields import Malformed
from proxy.head import Refused, RequestHead, ResponseHead
from proxy.splice import Ended, Splice
from proxy.upstream import Unreachable, Upstream
from proxy.wire import Broken

if TYPE_CHECKING:
    from proxy.backends import Backend
    from proxy.client import Client
    from proxy.route import Routed
    from proxy.service import Service

# More informational answers (1xx) before the real one are no use to anybody.
_MOST_INTERIM = 16
# Doing these twice is the same as once (RFC 9110, 9.2.2).
_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
CLIENT_LEFT = 499


class Exchange:
    """Sends `request` to the first of `backends` that takes it, and relays its answer to `client`.

    Until an answer has begun, `response` is None. The client's body is `upload_left` bytes or `upload_chunks` that are
    still to come; what was there with the head goes with the head.
    """

    __slots__ = (
        "_answering", "_at_hand", "_backends", "_client", "_interims", "_lines", "_received", "_service", "backend",
        "bytes_in", "is_tunnel", "request", "response", "route", "splice", "started", "status", "timed_out",
        "upload_chunks", "upload_left", "upstream",
    )  # fmt: skip

    def __init__(self, client: Client, request: RequestHead, route: Routed, backends: list[Backend]) -> None:
        self._client = client
        self._service: Service = client.service
        self._backends = backends
        self._answering: Answering | None = None
        self._interims = 0
        self._lines = b""
        self._at_hand = b""
        self._received = b""
        self.request = request
        self.route = route
        self.backend: Backend | None = None
        self.upstream: Upstream | None = None
        self.response: ResponseHead | None = None
        self.splice: Splice | None = None
        self.upload_left = 0
        self.upload_chunks: ChunkReader | None = None
        self.is_tunnel = False
        self.timed_out = False
        self.status = 0
        self.bytes_in = 0
        self.started = time.monotonic()

    # The request

    def start(self, lines: bytes, rest: bytes) -> bytes:
        """Send it, with `lines` after the first one; gives what of `rest` is not its body. Raises `Refused`."""
        self._lines = lines
        rest = self._take_at_hand(rest)
        self._try_next()
        return rest

    def _take_at_hand(self, rest: bytes) -> bytes:
        length = self.request.fields.length
        if length:
            self._at_hand = rest[:length]
            self.upload_left = length - len(self._at_hand)
            self.bytes_in = len(self._at_hand)
            return rest[length:]
        if self.request.fields.is_chunked:
            self.upload_chunks = ChunkReader()
            self._at_hand = self._framed_upload(rest)
            return self._after_chunks()
        return rest

    def _framed_upload(self, data: bytes) -> bytes:
        reader = self.upload_chunks
        assert reader is not None  # noqa: S101 - only called while chunks come
        try:
            content = reader.feed(data, fields.REQUEST_NAMES)
        except Malformed:
            raise Refused(400, "The request's body is not valid.") from None
        self.bytes_in += sum(map(len, content))
        if self.route.max_body_bytes and self.bytes_in > self.route.max_body_bytes:
            raise Refused(413, "The request's body is larger than this app takes.")
        framed = chunks.framed(content)
        return framed + chunks.last(reader.trailers) if reader.is_done else framed

    def _after_chunks(self) -> bytes:
        reader = self.upload_chunks
        if reader is None or not reader.is_done:
            return b""
        self.upload_chunks = None
        return reader.rest

    @property
    def is_uploading(self) -> bool:
        return self.upload_left > 0 or self.upload_chunks is not None

    def _try_next(self) -> None:
        """Send the request to the next backend that can be connected to; with none left it gets an error answer."""
        while self._backends:
            backend = self._backends[0]
            self._backends = self._backends[1:]
            self.backend = backend
            backend.in_flight += 1
            if self._begin(backend):
                return
            backend.in_flight -= 1
        self._answer_failure()

    def _begin(self, backend: Backend) -> bool:
        while backend.idle:
            self.upstream = upstream = backend.idle.pop()
            upstream.exchange = self
            try:
                self.send_request()
                return True
            except Broken:
                # It ended just now; nothing of the request has left.
                upstream.drop()
        return self._connect(backend)

    def _connect(self, backend: Backend) -> bool:
        try:
            self.upstream = Upstream(self._service.loop, backend, self)
        except (Unreachable, OSError):
            backend.note_failure()
            return False
        if self.upstream.is_connecting:
            self._client.due_in(self._service.limits.connect_timeout)
            if self.is_uploading:
                self._client.pause()
            return True
        try:
            self.send_request()
        except Broken:
            self.upstream.drop()
            backend.note_failure()
            return False
        return True

    def connect_failed(self) -> None:
        """The connection was refused, or not made in time."""
        self._release(reusable=False)
        assert self.backend is not None  # noqa: S101 - it was tried
        self.backend.note_failure()
        self._try_next()

    def send_request(self) -> None:
        """Send head and what is there of the body. Raises `Broken`."""
        request, client = self.request, self._client
        assert self.upstream is not None  # noqa: S101 - it is connected
        line = b"%s %s HTTP/1.1\r\n" % (request.method, request.target)
        is_sent = self.upstream.write(line + self._lines + self._at_hand)
        if not self.is_uploading:
            client.due_in(self.route.first_byte_seconds)
            return
        client.due_in(self._service.limits.body_timeout)
        if request.expects_continue and not self._at_hand:
            client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if is_sent:
            client.resume()
        else:
            client.pause()

    def take_body(self, data: bytes) -> bytes:
        """Send more of the client's body; gives what came after it. Raises `Refused`."""
        rest = b""
        if self.upload_chunks is not None:
            out = self._framed_upload(data)
            rest = self._after_chunks()
        else:
            out = data[: self.upload_left]
            rest = data[self.upload_left :]
            self.upload_left -= len(out)
            self.bytes_in += len(out)
        self._at_hand = b""
        self._lines = b""
        try:
            if out and self.upstream is not None and not self.upstream.write(out):
                self._client.pause()
        except Broken:
            # The backend reads no more; its answer, which may say why, may still come.
            self._client.pause()
            return rest
        self._uploaded()
        return rest

    def _uploaded(self) -> None:
        if self.is_uploading:
            self._client.due_in(self._service.limits.body_timeout)
            self._splice_upload()
        elif self.response is None:
            self._client.due_in(self.route.first_byte_seconds)

    def _splice_upload(self) -> None:
        upstream, client = self.upstream, self._client
        if self.upload_left < _splice_from() or client.is_tls or upstream is None or upstream.is_blocked or self.splice:
            return
        try:
            self.splice = Splice(self._service.pipes, client, upstream, self.upload_left)
        except OSError:
            return
        self.upload_left = self.splice.left

    def upstream_drained(self) -> None:
        """The backend takes more."""
        if self.splice is not None and self.splice.target is self.upstream:
            self.splice_more()
        elif self.is_uploading or self.is_tunnel:
            self._client.resume()

    def splice_more(self) -> None:
        """Let the kernel move more of a long body."""
        splice = self.splice
        assert splice is not None  # noqa: S101 - who calls has looked
        is_upload = splice.source is self._client
        try:
            came = splice.move()
        except Ended:
            self.client_left() if is_upload else self.upstream_ended()
            return
        except OSError:
            self._splice_broken(splice, is_upload)
            return
        if is_upload:
            self._spliced_upload(splice, came)
        elif self._answering is not None:
            self._answering.spliced(came, splice)

    def _spliced_upload(self, splice: Splice, came: int) -> None:
        self.bytes_in += came
        self.upload_left = splice.left
        if splice.is_done:
            self.end_splice()
            self._client.resume()
        self._uploaded()

    def _splice_broken(self, splice: Splice, is_upload: bool) -> None:
        if not is_upload:
            self.cut()
            return
        # Either side may be the one; the backend's answer, which may say why, may still come.
        self.upload_left = max(1, splice.left)
        self.end_splice()
        self._client.pause()

    def end_splice(self) -> None:
        """The kernel has no more to move."""
        if self.splice is not None:
            self.splice.close()
            self.splice = None

    # The answer

    def take_answer(self, data: bytes) -> None:
        """What the backend sends. Raises `Broken` when the client is gone."""
        if self.is_tunnel:
            self._tunnel_to_client(data)
        elif self._answering is not None:
            self._answering.take(data)
        else:
            self._take_head(self._received + data if self._received else data)

    def _take_head(self, data: bytes) -> None:
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > self._service.limits.max_head_bytes:
                self._received = data
                if len(data) > self._service.limits.max_head_bytes or not b"HTTP/1.".startswith(data[:7]):
                    self._fail()
                return
            try:
                response = self._service.responses.parse(data[:end])
            except Malformed:
                self._fail()
                return
            if response.status >= 200:
                break
            data = data[end + 4 :]
            if response.status == 101:
                self._begin_tunnel(response, data)
                return
            if not self._relay_interim(response):
                self._fail()
                return
        self._received = b""
        self._begin_answer(response, data, end + 4)

    def _relay_interim(self, response: ResponseHead) -> bool:
        self._interims += 1
        if response.status != 100 and not self.request.is_http_10:
            self._client.write(response.start + b"\r\n")
        return self._interims <= _MOST_INTERIM

    def _begin_answer(self, response: ResponseHead, data: bytes, at: int) -> None:
        self.response = response
        self.status = response.status
        backend = self.backend
        if backend is not None:
            backend.note_success()
        self._client.due_in(self._service.limits.stream_timeout)
        self._answering = Answering(self, self._client, response)
        self._answering.begin(data, at)

    def _begin_tunnel(self, response: ResponseHead, data: bytes) -> None:
        upgrade = self.request.upgrade
        if not upgrade or response.upgrade != upgrade.lower():
            # Switching that nobody asked for.
            self._fail()
            return
        self.response = response
        self.status = 101
        self.is_tunnel = True
        lines = b"Connection: Upgrade\r\nUpgrade: %s\r\n\r\n" % upgrade
        early, self._client.buffer = self._client.buffer, b""
        self._client.due_in(self._service.limits.stream_timeout)
        self._client.resume()
        self._client.write(response.start + lines)
        if data:
            self._tunnel_to_client(data)
        if early:
            self.tunnel_to_backend(early)

    def _tunnel_to_client(self, data: bytes) -> None:
        self._client.due_in(self._service.limits.stream_timeout)
        if not self._client.write(data) and self.upstream is not None:
            self.upstream.pause()
        self._client.bytes_out += len(data)

    def tunnel_to_backend(self, data: bytes) -> None:
        """Bytes of the client after the switch. Raises `Broken`."""
        self.bytes_in += len(data)
        self._client.due_in(self._service.limits.stream_timeout)
        if self.upstream is not None and not self.upstream.write(data):
            self._client.pause()

    def client_drained(self) -> None:
        """The client takes more."""
        if self.splice is not None and self.splice.target is self._client:
            self.splice_more()
        elif self.upstream is not None and not self.upstream.is_connecting:
            self.upstream.resume()

    # The end

    def finish(self, keeps: bool, reusable: bool) -> None:
        """The answer has been sent whole."""
        is_clean = not self.is_uploading
        self._release(reusable and is_clean)
        self._client.exchange_ended(keeps and is_clean, has_unread=not is_clean)

    def _release(self, reusable: bool) -> None:
        """Give the connection to the backend back, or close it."""
        upstream, self.upstream = self.upstream, None
        self.end_splice()
        if upstream is None:
            return
        upstream.backend.in_flight -= 1
        if reusable and not upstream.is_blocked:
            upstream.rest()
        else:
            upstream.drop()

    def upstream_broken(self) -> None:
        """The connection to the backend was reset."""
        if self.response is None:
            self._no_answer()
        else:
            self.cut()

    def upstream_ended(self) -> None:
        """The backend has closed its side."""
        if self.is_tunnel:
            self._client.tunnel_ended()
        elif self.response is None:
            self._no_answer()
        elif self._answering is not None and self._answering.ends_with_connection:
            self._answering.end()
        else:
            self.cut()

    def _no_answer(self) -> None:
        """It ended before a word: a kept-alive connection just closed, so what may be asked again is (once)."""
        upstream, backend = self.upstream, self.backend
        was_used = upstream is not None and upstream.was_used
        may_repeat = was_used and self._lines and not (self._received or self._interims) and not self.is_uploading
        if may_repeat and backend is not None and self.request.method in _REPEATABLE:
            self._release(reusable=False)
            backend.close_idle()
            self._backends = [backend, *self._backends]
            self._try_next()
            return
        self._fail()

    def _fail(self) -> None:
        """The backend gave no valid answer."""
        if self.backend is not None:
            self.backend.note_failure()
        self._release(reusable=False)
        self._answer_failure()

    def _answer_failure(self) -> None:
        self._client.exchange_failed(self, 504 if self.timed_out else 502)

    def refuse(self, refused: Refused) -> None:
        """The client's body is not valid or too large: an error answer, unless one has begun."""
        self._release(reusable=False)
        if self.response is None:
            self._client.exchange_refused(self, refused)
        else:
            self._client.abort(self)

    def cut(self) -> None:
        """An answer that has begun cannot be ended well: the client sees that it is not whole."""
        self._release(reusable=False)
        self._client.abort(self)

    def cut_off(self) -> None:
        """The backend is to go and has waited long enough."""
        if self.response is None:
            self.timed_out = True
            self._fail()
        else:
            self.cut()

    def tunnel_half_closed(self) -> None:
        """The backend's end of a tunnel has been passed on; the client may still talk."""
        self._client.resume()

    def client_left(self) -> None:
        """The client is gone; nobody needs the answer."""
        self._release(reusable=False)
        if self.response is None:
            self.status = CLIENT_LEFT
        self._client.abort(self)

    def overdue(self) -> None:
        """What was waited for did not come in time."""
        upstream = self.upstream
        if upstream is not None and upstream.is_connecting:
            self.timed_out = True
            self.connect_failed()
        elif self.response is not None:
            self.cut()
        elif self.is_uploading and not (upstream is not None and upstream.is_blocked):
            self.refuse(Refused(408, "The request's body did not come in time."))
        else:
            self.timed_out = True
            self._fail()


def _splice_from() -> int:
    from proxy import splice

    return splice.SHORTEST
