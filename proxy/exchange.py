"""One request to a backend and its answer back, streamed both ways, driven by what the two sockets have to say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from proxy import replies, splice
from proxy.answer import Answering
from proxy.fields import Malformed
from proxy.head import Refused, RequestHead
from proxy.response import ResponseHead, split_answer
from proxy.splice import Ended, Splice
from proxy.tunnel import Tunnel
from proxy.upload import Upload
from proxy.upstream import connect
from proxy.wire import Broken

if TYPE_CHECKING:
    from proxy.backends import Backend
    from proxy.client import Client
    from proxy.route import Routed
    from proxy.service import Service
    from proxy.upstream import Upstream

# More informational answers (1xx) before the real one are no use to anybody.
_MOST_INTERIM = 16
# Doing these twice is the same as once (RFC 9110, 9.2.2).
_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))


class Exchange:
    """Sends `request` to the first of `backends` that takes it, and relays its answer to `client`.

    Until an answer has begun, `response` is None. `upload` is the client's body while there is one; what of it was
    there with the head goes with the head.
    """

    __slots__ = (
        "_answering", "_at_hand", "_backends", "_client", "_head", "_interims", "_received", "_service", "_tried",
        "backend", "request", "response", "route", "splice", "started", "timed_out", "tunnel", "upload",
        "upstream",
    )  # fmt: skip

    def __init__(self, client: Client, request: RequestHead, route: Routed, backends: list[Backend]) -> None:
        self._client = client
        self._service: Service = client.service
        self._backends = backends
        self._answering: Answering | None = None
        self._interims = self._tried = 0
        self._at_hand = self._received = b""
        self.request = request
        self.route = route
        # The one tried last; the first of them until one is.
        self.backend = backends[0]
        self.upstream: Upstream | None = None
        self.response: ResponseHead | None = None
        self.splice: Splice | None = None
        self.upload: Upload | None = None
        self.tunnel: Tunnel | None = None
        self.timed_out = False
        self.started = time.monotonic()

    @property
    def status(self) -> int:
        return replies.CLIENT_LEFT if self.response is None else self.response.status

    @property
    def bytes_in(self) -> int:
        size = 0 if self.upload is None else self.upload.size
        return size if self.tunnel is None else size + self.tunnel.size

    @property
    def is_uploading(self) -> bool:
        return self.upload is not None and not self.upload.is_done

    def start(self, lines: bytes, rest: bytes) -> bytes:
        """Send it, with `lines` after the first one; gives what of `rest` is not its body. Raises `Refused`."""
        request = self.request
        self._head = b"%b %b HTTP/1.1\r\n%b" % (request.method, request.onward, lines)
        fields = request.fields
        if fields.length or fields.is_chunked:
            self.upload = Upload(request, self.route.max_body_bytes)
            self._at_hand, rest = self.upload.feed(rest)
        self._try_next()
        return rest

    def _try_next(self) -> None:
        """Send the request to the next backend that can be connected to; with none left it gets an error answer."""
        while self._tried < len(self._backends):
            backend = self._backends[self._tried]
            self._tried += 1
            if backend.departed is not None:
                backend = self._service.backends.again(backend)
            self.backend = backend
            backend.in_flight += 1
            while backend.idle:
                self.upstream = upstream = backend.idle.pop()
                upstream.exchange = self
                try:
                    self.send_request()
                    return
                except Broken:
                    # It ended just now; nothing of the request has left.
                    upstream.drop()
            if self._connect(backend):
                return
            self.upstream = None
            backend.in_flight -= 1
            backend.note_failure()
        replies.failed(self._client, self)

    def _connect(self, backend: Backend) -> bool:
        self.upstream = upstream = connect(self._service.loop, backend, self)
        if upstream is None or not upstream.is_connecting:
            return upstream is not None and upstream.try_to(self.send_request)
        self._client.due_in(self._service.limits.connect_timeout)
        if self.is_uploading:
            self._client.pause()
        return True

    def connect_failed(self) -> None:
        """The connection was refused, or not made in time."""
        self._release(reusable=False)
        self.backend.note_failure()
        self._try_next()

    def send_request(self) -> None:
        """Send head and what is there of the body. Raises `Broken`."""
        request, client, upstream = self.request, self._client, self.upstream
        assert upstream is not None  # noqa: S101 - it is connected
        upload = self.upload
        is_sent = upstream.write(self._head if upload is None else self._head + self._at_hand)
        if upload is None or upload.is_done:
            client.due = self._service.now + self.route.first_byte_seconds
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
        upload = self.upload
        assert upload is not None  # noqa: S101 - who calls has looked
        out, rest = upload.feed(data)
        # From here on the request cannot be sent again.
        self._at_hand = self._head = b""
        try:
            if out and self.upstream is not None and not self.upstream.write(out):
                self._client.pause()
        except Broken:
            # The backend reads no more; its answer, which may say why, may still come.
            self._client.pause()
            return rest
        self._uploaded(upload)
        return rest

    def _uploaded(self, upload: Upload) -> None:
        if not upload.is_done:
            self._client.due_in(self._service.limits.body_timeout)
            self._splice_upload(upload)
        elif self.response is None:
            self._client.due_in(self.route.first_byte_seconds)

    def _splice_upload(self, upload: Upload) -> None:
        upstream, client = self.upstream, self._client
        if upload.left < splice.SHORTEST or client.is_tls or upstream is None or upstream.is_blocked or self.splice:
            return
        self.splice = self._service.splice(client, upstream, upload.left)

    def upstream_drained(self) -> None:
        """The backend takes more."""
        if self.splice is not None and self.splice.target is self.upstream:
            self.splice_more()
        elif self.is_uploading or self.tunnel is not None:
            self._client.resume()

    def splice_more(self) -> None:
        """Let the kernel move more of a long body."""
        moving = self.splice
        assert moving is not None  # noqa: S101 - who calls has looked
        is_upload = moving.source is self._client
        try:
            came = moving.move()
        except Ended:
            self.client_left() if is_upload else self.upstream_ended()
        except OSError:
            if is_upload:
                # Either side may be the one; the backend's answer, which may say why, may still come.
                self.end_splice()
                self._client.pause()
            else:
                self.cut()
        else:
            self._spliced(moving, came, is_upload)

    def _spliced(self, moving: Splice, came: int, is_upload: bool) -> None:
        if not is_upload:
            if self._answering is not None:
                self._answering.spliced(came, moving)
            return
        upload = self.upload
        assert upload is not None  # noqa: S101 - its body is what was moved
        upload.moved(came)
        if moving.is_done:
            self.end_splice()
            self._client.resume()
        self._uploaded(upload)

    def end_splice(self) -> None:
        """The kernel has no more to move."""
        if self.splice is not None:
            self.splice.close()
            self.splice = None

    def take_answer(self, data: bytes) -> None:
        """What the backend sends. Raises `Broken` when the client is gone."""
        if self._answering is not None:
            self._answering.take(data)
        elif self.tunnel is not None:
            self.tunnel.to_client(data)
        elif not self._received and self._take_whole(data):
            return
        else:
            self._take_head(self._received + data if self._received else data)

    def _take_whole(self, data: bytes) -> bool:
        """The usual case in few steps: a whole answer, passed on as it is."""
        end = data.find(b"\r\n\r\n")
        if end < 0 or not self.route.is_verbatim:
            return False
        head, responses = data[:end], self._service.responses
        response = responses.remembered.get(head) or responses.try_to(head)
        if response is None or len(data) - end - 4 != response.whole_length:
            return False
        request, client = self.request, self._client
        if request.method == b"HEAD" or request.is_http_10 or (self.upload is not None and not self.upload.is_done):
            return False
        self.response = response
        keeps = request.keeps_alive and not self._service.is_stopping
        if keeps and response.is_verbatim:
            client.write(data)
        else:
            client.write((response.whole_head if keeps else response.last_head) + data[end + 4 :])
        client.bytes_out = response.whole_length
        upstream = self.upstream
        assert upstream is not None  # noqa: S101 - it has just spoken
        backend = self.backend
        backend.in_flight -= 1
        if backend.seen != "healthy" or backend.failures:
            backend.note_success()
        self.upstream = None
        upstream.rest()
        client.exchange_ended_well(self, keeps)
        return True

    def _take_head(self, data: bytes) -> None:
        most = self._service.limits.max_head_bytes
        while True:
            head, at = split_answer(data)
            if head is None or at > most:
                self._received = data
                if len(data) > most or not data.startswith(b"HTTP/1."[: len(data)]):
                    self._fail()
                return
            try:
                response = self._service.responses.parse(head)
            except Malformed:
                self._fail()
                return
            if response.status >= 200:
                break
            data = data[at:]
            if response.status == 101:
                self._begin_tunnel(response, data)
                return
            self._interims += 1
            if response.status != 100 and not self.request.is_http_10:
                self._client.write(response.start + b"\r\n")
            if self._interims > _MOST_INTERIM:
                self._fail()
                return
        self._received = b""
        self._begin_answer(response, data, at)

    def _begin_answer(self, response: ResponseHead, data: bytes, at: int) -> None:
        self.response = response
        self.backend.note_success()
        self._client.due_in(self._service.limits.stream_timeout)
        self._answering = Answering(self, self._client, response)
        self._answering.begin(data, at)

    def _begin_tunnel(self, response: ResponseHead, data: bytes) -> None:
        upgrade = self.request.upgrade
        if self.upstream is None or not upgrade or response.upgrade != upgrade.lower():
            # Switching that nobody asked for.
            self._fail()
            return
        self.response = response
        self.tunnel = Tunnel(self._client, self.upstream)
        self.tunnel.begin(response, upgrade, data)

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
        # They know each other, which only the garbage collector would undo.
        self._answering = None
        self.end_splice()
        if upstream is None:
            return
        upstream.backend.in_flight -= 1
        if reusable and not upstream.is_blocked:
            upstream.rest()
        else:
            upstream.drop()

    def upstream_ended(self, is_reset: bool = False) -> None:
        """The backend has closed its side, or all of it."""
        if self.response is None:
            self._no_answer()
        elif self.tunnel is not None and not is_reset:
            self._client.tunnel_ended()
        elif self._answering is not None and self._answering.ends_with_connection and not is_reset:
            self._answering.end()
        else:
            self.cut()

    def _no_answer(self) -> None:
        """It ended before a word: a kept-alive connection just closed, so what may be asked again is (once)."""
        was_used = self.upstream is not None and self.upstream.was_used
        was_silent = not (self._received or self._interims)
        if was_used and was_silent and self._head and not self.is_uploading and self.request.method in _REPEATABLE:
            self._release(reusable=False)
            self.backend.close_idle()
            self._tried -= 1
            self._try_next()
        else:
            self._fail()

    def _fail(self) -> None:
        """The backend gave no valid answer."""
        self.backend.note_failure()
        self._release(reusable=False)
        replies.failed(self._client, self)

    def refuse(self, refused: Refused) -> None:
        """The client's body is not valid or too large: an error answer, unless one has begun."""
        self._release(reusable=False)
        if self.response is None:
            replies.refused(self._client, self, refused)
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

    def client_left(self) -> None:
        """The client is gone; nobody needs the answer."""
        self._release(reusable=False)
        self._client.abort(self)

    def overdue(self) -> None:
        """What was waited for did not come in time."""
        upstream = self.upstream
        if upstream is not None and upstream.is_connecting:
            self.timed_out = True
            self.connect_failed()
        elif self.response is None and self.is_uploading and not (upstream is not None and upstream.is_blocked):
            self.refuse(Refused(408, "The request's body did not come in time."))
        else:
            self.cut_off()
