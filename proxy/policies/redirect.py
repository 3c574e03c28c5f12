"""`https_only`, `canonical_host` and `redirects`: answers that send the client elsewhere.

What a client sent gets into `Location` only escaped, and only behind an origin that is the owner's or
the request's own host: no line break can end the field, and no path can lead to a third host.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from proxy.policies.base import Answer, Asked, BadValue, Gate, complain

_HOST = re.compile(rb"[0-9a-z_-]+(?:\.[0-9a-z_-]+)*|\[[0-9a-f:.]{2,45}\]")
_PORT = re.compile(rb":([0-9]{1,5})\Z")
_DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}
# Browsers read \ as /; the others have no place in an address.
_UNSAFE = re.compile(rb'[^\x21-\x7e]|["#<>\\]')
# Segments that browsers take as "here" and "one up", in any spelling.
_DOTS = re.compile(rb"(?:^|/|\\|%2f|%5c)(?:\.|%2e){1,2}(?=$|/|\\|%2f|%5c)", re.IGNORECASE)
_TO = re.compile(
    rb"(https?://(?:[0-9a-z_-]+(?:\.[0-9a-z_-]+)*|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?)?"
    rb'(/[^?#"<>\\\s]*)?(\?[^#"<>\\\s]*)?(#[^#"<>\\\s]*)?',
    re.IGNORECASE,
)
_STATUSES = (301, 302, 307, 308)
_NO_HOST = Answer(400, "The request does not say which host it is for.")


def gate(policy: Mapping[str, Any]) -> Gate | None:
    """The first redirect that applies, in the order above; each of the three keys is ignored when it is bad."""
    makers: tuple[tuple[str, Callable[[Any], Gate | None]], ...] = (
        ("https_only", _https_only),
        ("canonical_host", _canonical_host),
        ("redirects", _redirects),
    )
    steps = []
    for key, make in makers:
        try:
            step = make(policy[key]) if key in policy else None
        except BadValue as bad:
            complain(policy.get("app", ""), key, str(bad))
            continue
        if step is not None:
            steps.append(step)
    if len(steps) < 2:
        return steps[0] if steps else None

    def check(asked: Asked) -> Answer | None:
        for step in steps:
            answer = step(asked)
            if answer is not None:
                return answer
        return None

    return check


def _moved(status: int, location: bytes) -> Answer:
    return Answer(status, "This page is at another address.", fields=((b"Location", location),))


def _safe(text: bytes) -> bytes:
    return _UNSAFE.sub(lambda match: b"%%%02X" % match.group()[0], text)


def _target(asked: Asked) -> bytes:
    # "OPTIONS *" has no path.
    return _safe(asked.target) if asked.target.startswith(b"/") else b"/"


def _https_only(value: object) -> Gate | None:
    if not isinstance(value, bool):
        raise BadValue("not true or false")

    def check(asked: Asked) -> Answer | None:
        if asked.is_tls:
            return None
        # Only HTTP/1.0 may name no host; to let it pass would be a way around.
        if not _HOST.fullmatch(asked.host):
            return _NO_HOST
        # Without the port: that one speaks no TLS.
        return _moved(308, b"https://" + asked.host + _target(asked))

    return check if value else None


def _canonical_host(value: object) -> Gate:
    host = value.lower().rstrip(".").encode("ascii", "replace") if isinstance(value, str) else b""
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise BadValue("not a host name (in ASCII, without port)")

    def check(asked: Asked) -> Answer | None:
        if asked.host == host:
            return None
        return _moved(308, _scheme(asked) + b"://" + host + _port(asked) + _target(asked))

    return check


def _scheme(asked: Asked) -> bytes:
    return b"https" if asked.is_tls else b"http"


def _port(asked: Asked) -> bytes:
    # A visitor who came to :8443 finds the other host there too.
    found = _PORT.search(asked.authority)
    if found is None or found.group(1) == _DEFAULT_PORTS[_scheme(asked)]:
        return b""
    return b":" + found.group(1)


@dataclass(frozen=True, slots=True)
class _Rule:
    prefix: bytes  # without the slash at its end, so b"" holds all paths
    origin: bytes  # b"" is the request's own
    path: bytes
    query: bytes  # with its ?
    fragment: bytes  # with its #
    status: int
    keeps_path: bool

    def answer(self, asked: Asked) -> Answer | None:
        if not _is_below(asked.path, self.prefix) or self._has_arrived(asked):
            return None
        return _moved(self.status, self._location(asked))

    def _location(self, asked: Asked) -> bytes:
        if not self.keeps_path:
            return self.origin + self.path + self.query + self.fragment
        rest = asked.path[len(self.prefix) :]
        # ".." would lead out of the path that the owner chose.
        path = self.path if not rest or _DOTS.search(rest) else self.path.rstrip(b"/") + _safe(rest)
        if not self.origin:
            # "//x" would be read as the host x.
            path = b"/" + path.lstrip(b"/")
        asked_query = _safe(asked.target.partition(b"?")[2])
        query = b"&".join(part for part in (self.query[1:], asked_query) if part)
        return self.origin + path + (b"?" + query if query else b"") + self.fragment

    def _has_arrived(self, asked: Asked) -> bool:
        """Whether a rule that leads into its own paths (from / to /new) has done so already: no endless round."""
        base = self.path.rstrip(b"/")
        if not _is_below(base or b"/", self.prefix) or not _is_below(asked.path, base):
            return False
        return self.origin in (b"", _scheme(asked) + b"://" + asked.host + _port(asked))


def _is_below(path: bytes, base: bytes) -> bool:
    return path.startswith(b"/") and (not base or path == base or path.startswith(base + b"/"))


def _redirects(value: object) -> Gate | None:
    if not isinstance(value, list | tuple):
        raise BadValue("not a list")
    rules = tuple(_rule(number, row) for number, row in enumerate(value, 1))

    def check(asked: Asked) -> Answer | None:
        for rule in rules:
            answer = rule.answer(asked)
            if answer is not None:
                return answer
        return None

    return check if rules else None


def _rule(number: int, row: object) -> _Rule:
    if not isinstance(row, Mapping):
        raise BadValue(f"redirect {number} is not an object")
    prefix, to = row.get("from"), row.get("to")
    status, keeps_path = row.get("status", 307), row.get("keep_path", False)
    if not isinstance(prefix, str) or not prefix.startswith("/") or len(prefix) > 2048:
        raise BadValue(f"redirect {number}: from is not a path")
    if not isinstance(status, int) or status not in _STATUSES:
        raise BadValue(f"redirect {number}: status is not 301, 302, 307 or 308")
    if not isinstance(keeps_path, bool):
        raise BadValue(f"redirect {number}: keep_path is not true or false")
    if not isinstance(to, str) or len(to) > 2048 or not to.isascii() or not to.isprintable():
        raise BadValue(f"redirect {number}: to is not an address in ASCII")
    found = _TO.fullmatch(to.encode())
    if found is None or not (found.group(1) or found.group(2)):
        raise BadValue(f"redirect {number}: to is not a path or an http(s) address")
    origin, path, query, fragment = (part or b"" for part in found.groups())
    if not origin and path.startswith(b"//"):
        raise BadValue(f"redirect {number}: to begins with //, which leads to another host")
    # Browsers send what is beyond ASCII in this spelling.
    escaped = quote(prefix.rstrip("/"), safe="/%:@!$&'()*+,;=~", errors="replace").encode()
    return _Rule(escaped, _origin(origin), path or b"/", query, fragment, status, keeps_path)


def _origin(origin: bytes) -> bytes:
    # Compared with the request's own, which has no default port either.
    origin = origin.lower()
    return origin.removesuffix(b":" + _DEFAULT_PORTS[origin.partition(b":")[0]]) if origin else b""
