"""One client connection: its requests in order, each matched, sent to a backend or answered here."""

import logging

from gevent import socket

from proxy import pages
from proxy.backends import Cut
from proxy.contract import Route
from proxy.exchange import Exchange, NoAnswer
from proxy.head import Refused, RequestHead, parse_request
from proxy.service import Service
from proxy.stream import BrokenBody, Ended, Stream
from proxy.upstream import Unreachable

log = logging.getLogger("proxy")

HEAD_SECONDS = 15.0
KEEP_ALIVE_SECONDS = 75.0
_CHALLENGE_PREFIX = "/.well-known/acme-challenge/"
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 8 * 1024 * 1024
_RETRY_AFTER_SECONDS = 5


class Connection:
    """Serves one accepted connection until it ends; `is_idle` while it waits for a request."""

    def __init__(self, service: Service, sock: socket.socket, peer: str, is_tls: bool) -> None:
        self._service = service
        self._stream = Stream(sock)
        self._peer = peer
        self._is_tls = is_tls
        self.is_idle = True

    def run(self) -> None:
        """Serve request after request."""
        try:
            while self._next():
                pass
        except (Ended, BrokenBody, TimeoutError, Cut):
            # Cut off in the middle, so that the other side sees that what it got is not whole.
            pass
        finally:
            self._stream.close()

    @property
    def is_tunnel(self) -> bool:
        """Whether it carries something else than requests, which has no end to wait for."""
        return self._stream.is_tunnel

    def end(self) -> None:
        """End a connection that waits for a request; others end after their answer."""
        if self.is_idle:
            self._stream.interrupt()

    def _next(self) -> bool:
        """Serve one request; False when the connection is over."""
        if not self._wait_for_request():
            return False
        # Also when the rest of the head makes no sense, a HEAD is answered without a body.
        is_head = self._stream.buffer.startswith(b"HEAD ")
        try:
            request = parse_request(self._stream.head(HEAD_SECONDS))
        except TimeoutError:
            return self._refuse(Refused(408, "The request did not come in time."), is_head)
        except Refused as refused:
            return self._refuse(refused, is_head)
        return self._serve(request)

    def _wait_for_request(self) -> bool:
        self.is_idle = True
        try:
            while True:
                # An empty line before a request is skipped (RFC 9112, 2.2).
                while self._stream.buffer.startswith(b"\r\n"):
                    del self._stream.buffer[:2]
                if self._stream.buffer and self._stream.buffer != b"\r":
                    return True
                if self._service.stopping:
                    return False
                self._stream.fill(KEEP_ALIVE_SECONDS)
        except TimeoutError:
            return False
        finally:
            self.is_idle = False

    def _serve(self, request: RequestHead) -> bool:
        path = request.path
        if path.startswith(_CHALLENGE_PREFIX) and not self._is_tls:
            answer = self._service.table.challenges.get(path.removeprefix(_CHALLENGE_PREFIX))
            if answer is not None:
                return self._say(request, answer.encode())
        route = self._service.table.match(request.host, path)
        if route is None:
            return self._answer(request, 404, *pages.unknown_host(request.host))
        if not route.backends:
            texts = pages.unavailable(str(route.policy.get("unavailable", "")))
            return self._answer(request, 503, *texts, retry_after=_RETRY_AFTER_SECONDS)
        return self._forward(request, route)

    def _forward(self, request: RequestHead, route: Route) -> bool:
        scheme = b"https" if self._is_tls else b"http"
        fields = [field for field in request.fields if field[0].lower() not in (b"host", b"expect")]
        fields.insert(0, (b"Host", request.authority))
        fields = self._service.forwarder.rewrite(fields, self._peer, scheme, request.authority)
        exchange = Exchange(self._service, self._stream, request, fields)
        backends = self._service.backends
        timed_out = False
        for backend in backends.order(route):
            with backends.request(backend.address):
                try:
                    keeps = exchange.run(backend.address)
                except Unreachable as error:
                    # Nothing was sent yet, so the next backend may have the request.
                    backends.note(backend.address, is_healthy=False)
                    timed_out = error.timed_out
                    continue
                except NoAnswer as error:
                    backends.note(backend.address, is_healthy=False)
                    timed_out = error.timed_out
                    break
                except Refused as refused:
                    return self._refuse(refused, request.method == b"HEAD")
                backends.note(backend.address, is_healthy=True)
                if request.has_body and not keeps:
                    self._linger()
                log.debug("%s %s %s%s -> %s", self._peer, request.method, request.host, request.path, backend.address)
                return keeps
        status, texts = (504, pages.TOO_SLOW) if timed_out else (502, pages.NO_ANSWER)
        return self._answer(request, status, *texts, retry_after=_RETRY_AFTER_SECONDS)

    def _answer(self, request: RequestHead, status: int, visitor: str, owner: str, retry_after: int = 0) -> bool:
        """Answer here; the connection goes on when no body of the request is left unread."""
        as_html = any(name.lower() == b"accept" and b"text/html" in value for name, value in request.fields)
        head, body = pages.answer(status, visitor, owner, as_html=as_html, retry_after=retry_after)
        return self._send_own(request, head, body)

    def _say(self, request: RequestHead, text: bytes) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % len(text)
        return self._send_own(request, head, text)

    def _send_own(self, request: RequestHead, head: bytes, body: bytes) -> bool:
        keeps = request.keeps_alive and not request.has_body and not self._service.stopping
        if not keeps:
            head += b"Connection: close\r\n"
        elif request.is_http_10:
            head += b"Connection: keep-alive\r\n"
        self._stream.send(head + b"\r\n" + (b"" if request.method == b"HEAD" else body))
        if request.has_body:
            self._linger()
        return keeps

    def _refuse(self, refused: Refused, is_head: bool) -> bool:
        head, body = pages.answer(refused.status, refused.reason, as_html=False)
        self._stream.send(head + b"Connection: close\r\n\r\n" + (b"" if is_head else body))
        self._linger()
        return False

    def _linger(self) -> None:
        """Read a little of what is still coming: closing at once would reset the answer away (RFC 9112, 9.6)."""
        self._stream.interrupt(socket.SHUT_WR)
        seen = 0
        try:
            while seen < _LINGER_BYTES:
                self._stream.buffer.clear()
                self._stream.fill(_LINGER_SECONDS)
                seen += len(self._stream.buffer)
        except (Ended, TimeoutError):
            return
