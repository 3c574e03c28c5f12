"""A request meets the policies of its route before (or instead of) a backend."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from proxy import replies
from proxy.head import RequestHead
from proxy.policies.base import Answer, Asked

if TYPE_CHECKING:
    from proxy.backends import Backend
    from proxy.client import Client
    from proxy.route import Routed

_PAUSED = Answer(503, "This app is being worked on and did not come back in time. Try again in a moment.")
_TOO_LARGE = Answer(413, "The request's body is larger than this app takes.")


class Meeting:
    """One request on its way through its route's policies; a paused route holds it until the table changes."""

    __slots__ = ("_client", "request", "route")

    def __init__(self, client: Client, request: RequestHead, route: Routed) -> None:
        self._client = client
        self.request = request
        self.route = route

    def begin(self) -> None:
        """Answer, hold or forward the request."""
        client, request, route = self._client, self.request, self.route
        if route.gates:
            asked = asked_by(client, request)
            for gate in route.gates:
                answer = gate(asked)
                if answer is not None:
                    replies.reply(client, request, route, answer)
                    return
        self._go_on()

    def _go_on(self) -> None:
        """The gates are behind it."""
        client, request, route = self._client, self.request, self.route
        if route.max_body_bytes and request.length > route.max_body_bytes:
            replies.reply(client, request, route, _TOO_LARGE)
        elif route.paused_seconds:
            self._hold()
        else:
            self._forward()

    def _hold(self) -> None:
        self._client.held = self
        self._client.due_in(self.route.paused_seconds)
        self._client.service.held.add(self._client)

    def again(self) -> None:
        """The table has changed: look whether the request may go on."""
        client = self._client
        route = client.service.table.match(self.request.host, self.request.path)
        if route is not None and route.paused_seconds:
            return
        before, self.route = self.route, route or self.route
        self._let_go()
        if route is None:
            replies.reply(client, self.request, None, _PAUSED, replies.RETRY_AFTER_SECONDS)
        elif route.policy == _unpaused(before):
            # To meet them a second time would count twice for the rate limit.
            self._go_on()
        else:
            self.begin()
        client.go_on_taking()

    def give_up(self) -> None:
        """It has waited for too long."""
        self._let_go()
        replies.reply(self._client, self.request, self.route, _PAUSED, replies.RETRY_AFTER_SECONDS)
        self._client.go_on_taking()

    def client_left(self) -> None:
        """Nobody waits any more: no backend is to do its work for nothing."""
        self._client.service.record(self._client, self.request, self.route, replies.CLIENT_LEFT, None)
        self._client.close()

    def _let_go(self) -> None:
        self._client.held = None
        self._client.service.held.discard(self._client)

    def _forward(self) -> None:
        route, request = self.route, self.request
        if route.strips and request.target != b"*":
            path = request.target[len(route.prefix) :]
            request.onward = path if path.startswith(b"/") else b"/" + path
        self._client.forward(request, route, self)

    @property
    def wanted_backend(self) -> Backend | None:
        """The backend that the visitor's cookie names."""
        if not self.route.sticky:
            return None
        mark = self._cookie()
        return next((backend for backend in self.route.backends if _mark(backend) == mark), None)

    def cookie_for(self, backend: Backend) -> bytes:
        """What to set so that the visitor comes back to `backend`; nothing when the visitor has it."""
        mark = _mark(backend)
        if not self.route.sticky or self._cookie() == mark:
            return b""
        client = self._client
        is_secure = client.service.forwarder.is_secure(self.request, client.peer, client.is_tls)
        secure = b"; Secure" if is_secure else b""
        return b"%s=%s; Path=/; HttpOnly; SameSite=Lax%s" % (self.route.sticky, mark, secure)

    def _cookie(self) -> bytes:
        for name, value in self.request.fields.block.fields:
            if name.lower() != b"cookie":
                continue
            for pair in value.split(b";"):
                key, _, mark = pair.strip().partition(b"=")
                if key == self.route.sticky:
                    return mark
        return b""


def _unpaused(route: Routed) -> dict[str, Any]:
    return {key: value for key, value in route.policy.items() if key != "paused"}


def asked_by(client: Client, request: RequestHead) -> Asked:
    """The request as policies see it: from whom it really comes, whatever proxies stand before us."""
    forwarder = client.service.forwarder
    return Asked(
        method=request.method,
        host=request.host,
        authority=request.authority,
        target=request.target,
        path=request.path,
        is_tls=forwarder.is_secure(request, client.peer, client.is_tls),
        peer=forwarder.client(request, client.peer),
        fields=[(name.lower(), value) for name, value in request.fields.block.fields],
    )


def _mark(backend: Backend) -> bytes:
    # Says nothing of the address to whoever looks at the cookie, and is the same in every proxy process.
    return hashlib.sha256(backend.address.encode()).hexdigest()[:16].encode()
