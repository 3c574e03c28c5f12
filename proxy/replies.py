"""Answers that no backend gave: errors, refusals, policies' answers, ACME challenges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import pages
from proxy.policies.base import Answer
from proxy.wire import Broken

if TYPE_CHECKING:
    from proxy.client import Client
    from proxy.exchange import Exchange
    from proxy.head import Refused, RequestHead
    from proxy.route import Routed

CHALLENGES = b"/.well-known/acme-challenge/"
RETRY_AFTER_SECONDS = 5
# Only for our own books: nobody is there to get it.
CLIENT_LEFT = 499


def reply(
    client: Client, request: RequestHead, route: Routed | None, answer: Answer, retry_after: int = 0,
    exchange: Exchange | None = None,
) -> None:  # fmt: skip
    """Answer here; the connection goes on when no body of the request is left unread."""
    has_unread = request.has_body if exchange is None else exchange.is_uploading
    accepts = [value for name, value in request.fields.block.fields if name.lower() == b"accept"]
    content = pages.render(answer, as_html=any(b"text/html" in value for value in accepts), retry_after=retry_after)
    client.bytes_out = 0 if request.method == b"HEAD" else len(content[1])
    client.service.record(client, request, route, answer.status, exchange)
    _send(client, request, content, has_unread)


def _send(client: Client, request: RequestHead, content: tuple[bytes, bytes], has_unread: bool) -> None:
    head, body = content
    keeps = request.keeps_alive and not has_unread and not client.service.is_stopping
    if not keeps:
        head += b"Connection: close\r\n"
    elif request.is_http_10:
        head += b"Connection: keep-alive\r\n"
    try:
        client.write(head + b"\r\n" + (b"" if request.method == b"HEAD" else body))
    except Broken:
        client.close()
        return
    client.go_on(keeps, has_unread)


def challenge(client: Client, request: RequestHead) -> bool:
    """Answer an ACME challenge (RFC 8555, 8.3) that the table knows; False for another one."""
    answer = client.service.table.challenges.get(request.path[len(CHALLENGES) :])
    if answer is None:
        return False
    _send(client, request, pages.text(200, answer), request.has_body)
    return True


def unavailable(client: Client, request: RequestHead, route: Routed) -> None:
    """The route has no backend now."""
    reply(client, request, route, Answer(503, *pages.unavailable(route.unavailable)), RETRY_AFTER_SECONDS)


def failed(client: Client, exchange: Exchange) -> None:
    """No backend gave an answer."""
    client.exchange = None
    status, texts = (504, pages.TOO_SLOW) if exchange.timed_out else (502, pages.NO_ANSWER)
    reply(client, exchange.request, exchange.route, Answer(status, *texts), RETRY_AFTER_SECONDS, exchange)


def refused(client: Client, exchange: Exchange, why: Refused) -> None:
    """The request's body cannot be taken."""
    client.exchange = None
    reply(client, exchange.request, exchange.route, Answer(why.status, why.reason), 0, exchange)


def refuse(client: Client, why: Refused, is_head: bool = False) -> None:
    """Answer what is no request; what follows it on the connection cannot be understood."""
    head, body = pages.render(Answer(why.status, why.reason), as_html=False)
    client.service.refused += 1
    client.buffer = b""
    try:
        client.write(head + b"Connection: close\r\n\r\n" + (b"" if is_head else body))
    except Broken:
        client.close()
        return
    client.end(lingers=True)
