"""What visitors see when no backend answers: what they can do, and what the owner can do."""

import html
import time

from proxy.fields import Field, join_fields
from proxy.policies.base import Answer

_HTML, _TEXT = b"text/html; charset=utf-8", b"text/plain; charset=utf-8"

_TITLES = {
    301: "Moved permanently", 302: "Found", 307: "Temporary redirect", 308: "Permanent redirect",
    400: "Bad request", 401: "Sign in to see this", 403: "Not for you", 404: "Nothing here",
    405: "Method not allowed", 408: "Too slow", 413: "Too large", 414: "Address too long",
    417: "Expectation failed", 429: "Too many requests", 431: "Headers too large", 501: "Not understood",
    502: "The app does not answer", 503: "Not available now", 504: "The app takes too long",
    505: "HTTP version not supported",
}  # fmt: skip
_STYLE = (
    ":root{color-scheme:light dark}body{display:grid;place-content:center;min-height:100vh;margin:0;padding:1.5rem;"
    "box-sizing:border-box;font:1.0625rem/1.6 system-ui,sans-serif}main{max-width:34rem}"
    "h1{margin:.25rem 0 .5rem;font-size:1.75rem;line-height:1.2}code{font-size:.95em}"
    "p{margin:.5rem 0}.s{opacity:.65;margin:0;font-variant-numeric:tabular-nums}"
)


def render(answer: Answer, *, as_html: bool, retry_after: int = 0) -> tuple[bytes, bytes]:
    """An answer's head (without Connection and the empty line) and body; its texts are plain, not HTML."""
    title = _TITLES.get(answer.status, "Not possible")
    if answer.html:
        kind, body = _HTML, answer.html.encode()
    elif as_html:
        kind, body = _HTML, _page(answer.status, title, answer.visitor, answer.owner).encode()
    else:
        kind, body = _TEXT, f"{title}. {answer.visitor}\n".encode()
    fields = [*answer.fields, (b"Cache-Control", b"no-store")]
    if answer.status == 405:
        fields.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
    if retry_after and not any(name.lower() == b"retry-after" for name, _ in fields):
        fields.append((b"Retry-After", b"%d" % retry_after))
    return _head(answer.status, title, kind, len(body), fields), body


def text(status: int, content: str) -> tuple[bytes, bytes]:
    """Head and body of an answer that is just a text."""
    body = content.encode()
    return _head(status, "OK", b"text/plain", len(body), []), body


def _head(status: int, title: str, kind: bytes, length: int, fields: list[Field]) -> bytes:
    lines = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nDate: %s\r\n"
    return lines % (status, title.encode(), kind, length, _date()) + join_fields(fields)


def _date() -> bytes:
    # IMF-fixdate, RFC 9110, 5.6.7; strftime would follow the locale.
    now = time.gmtime()
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[now.tm_wday]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[now.tm_mon - 1]
    moment = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{day}, {now.tm_mday:02} {month} {now.tm_year} {moment} GMT".encode()


def _page(status: int, title: str, visitor: str, owner: str) -> str:
    for_owner = f"<p><strong>If this is your server:</strong> {html.escape(owner)}</p>" if owner else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><main><p class=s>{status}</p><h1>{title}</h1>"
        f"<p>{html.escape(visitor)}</p>{for_owner}</main></html>"
    )


def unknown_host(host: str) -> tuple[str, str]:
    """For a host that no route names."""
    return (
        f"There is no app at {host or 'this address'}. Is the address right?",
        "give an app this domain, or wait for its first deployment to end.",
    )


def unavailable(why: str) -> tuple[str, str]:
    """For a route without backends; `why` is the policy's `unavailable`."""
    if why == "stopped":
        return "This app was stopped by its owner. Try again later.", "press Start on the app's page."
    return "This app is not ready yet. Try again in a moment.", "see how its first deployment goes on the app's page."


NO_ANSWER = (
    "The app behind this address does not answer. Try again in a moment.",
    "see the app's output on its page; restart it, or roll back to a version that ran.",
)
TOO_SLOW = (
    "The app behind this address took too long to answer. Try again in a moment.",
    "see the app's output on its page; it took the request and did not answer it in time.",
)
