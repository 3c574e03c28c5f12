"""One request to one backend and its answer back, streamed both ways."""

import time
from collections.abc import Iterator

import gevent
from gevent import Greenlet

from proxy import tunnel
from proxy.head import Field, Malformed, Refused, RequestHead, ResponseHead, parse_response
from proxy.service import Service
from proxy.stream import BrokenBody, Ended, Stream
from proxy.upstream import connect

FIRST_BYTE_SECONDS = 60.0
# A stream of events may rest for long; that its reader is still there is looked at meanwhile.
QUIET_SECONDS = 3600.0
# More informational answers (1xx) before the real one are no use to anybody.
_MOST_INTERIM = 16
_RETRIED = (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE")


class NoAnswer(Exception):
    """The backend gave no (valid) answer; no final one was begun. `heard`: it had sent something."""

    def __init__(self, timed_out: bool = False, heard: bool = False) -> None:
        super().__init__()
        self.timed_out = timed_out
        self.heard = heard


class ClientLeft(Ended):
    """The client closed while its answer was awaited."""


class Exchange:
    """Sends `request` to `address` and relays the answer to `client`; `fields` are those to send."""

    def __init__(self, service: Service, client: Stream, request: RequestHead, fields: list[Field]) -> None:
        self._service = service
        self._client = client
        self._request = request
        self._fields = fields
        # A body that is here already is sent with the head, and may be sent again.
        self._body = self._body_at_hand()
        self._pump: Greenlet[..., None] | None = None
        self._pump_error: Exception | None = None
        # When the answer must have begun; None while the body is still being sent, or once it has begun.
        self._due: float | None = None
        self._interims = 0

    def _body_at_hand(self) -> bytes | None:
        request, buffer = self._request, self._client.buffer
        if request.is_chunked or request.length > len(buffer):
            return None
        body = bytes(buffer[: request.length])
        del buffer[: request.length]
        return body

    def run(self, address: str) -> bool:
        """Do it; True when the client's connection may carry another request.

        Raises `Unreachable` and `NoAnswer` before anything was answered, `Refused` for a broken body,
        `Ended` when the connection to the client is of no more use.
        """
        upstream = self._service.pool.take(address)
        if upstream is not None:
            try:
                return self._relay(upstream, address, self._ask(upstream))
            except NoAnswer as error:
                # It had been closed just now; whoever repeats a GET does no harm (RFC 9110, 9.2.2).
                if error.heard or error.timed_out or self._body is None or self._request.method not in _RETRIED:
                    raise
        upstream = connect(address)
        return self._relay(upstream, address, self._ask(upstream))

    def _ask(self, upstream: Stream) -> ResponseHead:
        upstream.while_waiting = self._look_around
        upstream.stall_seconds = QUIET_SECONDS
        try:
            return self._send_and_wait(upstream)
        except ClientLeft:
            upstream.close()
            self._end_pump()
            raise
        except (Ended, TimeoutError, Malformed, Refused) as error:
            upstream.close()
            self._end_pump()
            if self._pump_error is not None:
                raise self._pump_error from None
            heard = bool(upstream.buffer or self._interims) or not isinstance(error, (Ended, TimeoutError))
            raise NoAnswer(isinstance(error, TimeoutError), heard) from None
        except BaseException:
            upstream.close()
            self._end_pump()
            raise

    def _send_and_wait(self, upstream: Stream) -> ResponseHead:
        head = self._request_head()
        if self._body is not None:
            upstream.send(head + self._body)
            self._due = time.monotonic() + FIRST_BYTE_SECONDS
        else:
            upstream.send(head)
            self._pump = gevent.spawn(self._pump_body, upstream)
        while self._interims <= _MOST_INTERIM:
            raw = upstream.response_head(QUIET_SECONDS)
            response = parse_response(raw, self._request.method)
            if response.status == 101:
                if not (self._request.is_websocket and response.is_websocket):
                    raise Malformed
                return response
            if response.status >= 200:
                self._due = None
                return response
            self._interims += 1
            if response.status != 100 and not self._request.is_http_10:
                self._client.send(_head_of(response, []))
        raise Malformed

    def _look_around(self) -> None:
        if not self._client.has_peer():
            raise ClientLeft
        if self._due is not None and time.monotonic() > self._due:
            raise TimeoutError

    def _request_head(self) -> bytes:
        request = self._request
        parts = [b"%s %s HTTP/1.1\r\n" % (request.method, request.target)]
        parts += [b"%s: %s\r\n" % field for field in self._fields]
        if request.is_chunked:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        if request.is_websocket:
            parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def _pump_body(self, upstream: Stream) -> None:
        """Send the client's body on as it comes; runs beside the wait for the answer."""
        request, client = self._request, self._client
        try:
            if request.expects_continue and not client.buffer:
                client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            if request.is_chunked:
                for piece in client.chunks():
                    upstream.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                upstream.send(b"0\r\n\r\n")
            else:
                for piece in client.exactly(request.length):
                    upstream.send(piece)
            self._due = time.monotonic() + FIRST_BYTE_SECONDS
        except BrokenBody:
            self._pump_error = Refused(400, "The request's body is not valid.")
            upstream.interrupt()
        except TimeoutError:
            self._pump_error = Refused(408, "The request's body did not come in time.")
            upstream.interrupt()
        except Ended as error:
            if not client.has_peer():
                self._pump_error = error
                upstream.interrupt()
            # Otherwise the backend stopped reading: its answer, which may say why, still comes.

    def _end_pump(self) -> bool:
        """Whether the client's body was read whole."""
        if self._pump is None:
            return True
        was_whole = self._pump.ready() and self._pump_error is None
        self._pump.kill()
        return was_whole

    def _relay(self, upstream: Stream, address: str, response: ResponseHead) -> bool:
        if response.status == 101:
            self._client.send(_head_of(response, [b"Connection: Upgrade\r\nUpgrade: websocket\r\n"]))
            tunnel.run(self._client, upstream)
            return False
        try:
            has_end = response.length is not None or response.is_chunked
            keeps = self._request.keeps_alive and not self._service.stopping
            keeps = keeps and (has_end or not self._request.is_http_10) and (self._pump is None or self._pump.ready())
            if self._request.is_http_10 and response.is_chunked:
                keeps = False
            self._send_response(upstream, response, keeps)
            was_whole = self._end_pump()
        except BaseException:
            self._end_pump()
            upstream.close()
            if not has_end and self._request.is_http_10:
                self._client.reset_on_close()
            raise
        if has_end and response.keeps_alive and was_whole:
            upstream.while_waiting = None
            self._service.pool.give(address, upstream)
        else:
            upstream.close()
        return keeps and was_whole

    def _send_response(self, upstream: Stream, response: ResponseHead, keeps: bool) -> None:
        chunks = response.length is None and not self._request.is_http_10
        head = _head_of(response, self._framing(chunks, keeps))
        if response.length is not None and response.length <= len(upstream.buffer):
            self._client.send(head + upstream.take(response.length) if response.length else head)
            return
        self._client.send(head)
        for piece in _body_of(upstream, response):
            self._client.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunks else piece)
        if chunks:
            self._client.send(b"0\r\n\r\n")

    def _framing(self, chunks: bool, keeps: bool) -> list[bytes]:
        lines = [b"Transfer-Encoding: chunked\r\n"] if chunks else []
        if not keeps:
            lines.append(b"Connection: close\r\n")
        elif self._request.is_http_10:
            lines.append(b"Connection: keep-alive\r\n")
        return lines


def _head_of(response: ResponseHead, more: list[bytes]) -> bytes:
    parts = [b"HTTP/1.1 %d %s\r\n" % (response.status, response.reason)]
    parts += [b"%s: %s\r\n" % field for field in response.fields]
    return b"".join([*parts, *more, b"\r\n"])


def _body_of(upstream: Stream, response: ResponseHead) -> Iterator[bytes]:
    if response.is_chunked:
        return upstream.chunks()
    if response.length is None:
        return upstream.until_end()
    return upstream.exactly(response.length)
