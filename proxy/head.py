"""Heads of HTTP/1 messages, parsed strictly (RFC 9112): what peers could read in two ways is refused.

Pure functions over bytes; nothing here does input or output.
"""

import re
import socket
from dataclasses import dataclass

MAX_REQUEST_LINE = 8 * 1024
MAX_HEAD = 32 * 1024
MAX_FIELDS = 100

Field = tuple[bytes, bytes]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Everything below SP but HTAB and the line ends, and DEL: RFC 9110, 5.5.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
# Narrower than RFC 3986, 3.2.2: names that can be in DNS (and _, which people use), or an address.
_AUTHORITY = re.compile(rb"((?:[0-9A-Za-z_-]+)(?:\.[0-9A-Za-z_-]+)*\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?")
_LONGEST_HOST = 253
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([/?].*)?", re.IGNORECASE)
_DIGITS = re.compile(rb"[0-9]{1,18}")

# RFC 9110, 7.6.1, and older ones that peers still send.
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authentication-info",
     b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)  # fmt: skip
# Read by CGI-like backends as the variable HTTP_PROXY ("httpoxy"), so no client may set it.
_NEVER_FORWARDED = _HOP_BY_HOP | {b"proxy"}


class Refused(Exception):
    """A request that gets an error answer instead of a backend: `status` and a sentence for its sender."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Malformed(Exception):
    """A backend's answer that is not HTTP/1."""


@dataclass(slots=True)
class RequestHead:
    """A request without its body; `host` is lower-case without port, `fields` hold no hop-by-hop ones.

    The body is `length` bytes, or chunked; neither means that there is none.
    """

    method: bytes
    target: bytes
    is_http_10: bool
    host: str
    authority: bytes
    fields: list[Field]
    length: int
    is_chunked: bool
    keeps_alive: bool
    is_websocket: bool
    expects_continue: bool

    @property
    def path(self) -> str:
        return self.target.partition(b"?")[0].decode("ascii")

    @property
    def has_body(self) -> bool:
        return self.is_chunked or self.length > 0


@dataclass(slots=True)
class ResponseHead:
    """A response without its body; `length` is None when only the end of the connection or chunks end it."""

    status: int
    reason: bytes
    fields: list[Field]
    length: int | None
    is_chunked: bool
    keeps_alive: bool
    is_websocket: bool


def parse_request(head: bytes) -> RequestHead:
    """Parse a request's head, given without the empty line that ends it. Raises `Refused`."""
    line, lines = _split(head)
    method, target, is_http_10 = _request_line(line)
    fields = _fields(lines)
    authority = _host_field(fields, is_http_10)
    if not target.startswith(b"/") and target != b"*":
        authority, target = _absolute(target, method)
    if target == b"*" and method != b"OPTIONS":
        raise Refused(400, "The request's target is not valid.")
    length, is_chunked = _request_framing(fields, is_http_10)
    options = _options(fields)
    # With a body it would not be clear where the body ends and the tunnel begins.
    may_upgrade = method == b"GET" and not (is_http_10 or is_chunked or length)
    return RequestHead(
        method=method,
        target=target,
        is_http_10=is_http_10,
        host=_host(authority),
        authority=authority,
        fields=_end_to_end(fields, options),
        length=length,
        is_chunked=is_chunked,
        keeps_alive=_keeps_alive(options, is_http_10),
        is_websocket=may_upgrade and _asks_for_websocket(fields, options),
        expects_continue=_expects_continue(fields, is_http_10),
    )


def _split(head: bytes) -> tuple[bytes, list[bytes]]:
    lines = head.split(b"\r\n")
    if len(lines[0]) > MAX_REQUEST_LINE:
        raise Refused(414, "The request's address is too long.")
    if len(lines) - 1 > MAX_FIELDS:
        raise Refused(431, "The request has too many header fields.")
    # A CR or LF on its own ends a line for some readers and not for others.
    if head.count(b"\r") != len(lines) - 1 or head.count(b"\n") != len(lines) - 1 or _CONTROL.search(head):
        raise Refused(400, "The request holds control characters.")
    return lines[0], lines[1:]


def _request_line(line: bytes) -> tuple[bytes, bytes, bool]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Refused(400, "The request's first line is not valid.")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise Refused(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
    if method in (b"CONNECT", b"TRACE"):
        raise Refused(405, "This method is not served here.")
    if b"#" in target:
        raise Refused(400, "The request's target is not valid.")
    return method, target, minor == b"0"


def _fields(lines: list[bytes]) -> list[Field]:
    fields = []
    for line in lines:
        name, separator, value = line.partition(b":")
        # A space before the colon or at the line's start (obs-fold) fails here too.
        if not separator or not _TOKEN.fullmatch(name):
            raise Refused(400, "A header field is not valid.")
        fields.append((name, value.strip(b" \t")))
    return fields


def _values(fields: list[Field], name: bytes) -> list[bytes]:
    return [value for key, value in fields if key.lower() == name]


def _host_field(fields: list[Field], is_http_10: bool) -> bytes:
    hosts = _values(fields, b"host")
    if len(hosts) > 1 or (not hosts and not is_http_10):
        raise Refused(400, "The request must name exactly one Host.")
    if hosts and not _is_authority(hosts[0]):
        raise Refused(400, "The request's Host is not valid.")
    return hosts[0] if hosts else b""


def _is_authority(text: bytes) -> bool:
    match = _AUTHORITY.fullmatch(text)
    if match is None or len(match.group(1).rstrip(b".")) > _LONGEST_HOST or int(match.group(2) or 0) > 65535:
        return False
    return not text.startswith(b"[") or _is_ipv6(match.group(1)[1:-1].decode("ascii"))


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        return False
    return True


def _absolute(target: bytes, method: bytes) -> tuple[bytes, bytes]:
    """Authority and path of a target in absolute form, which counts before the Host field (RFC 9112, 3.2.2)."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not _is_authority(match.group(1)):
        raise Refused(400, "The request's target is not valid.")
    # RFC 9112, 3.2.4: nothing after the authority means the server as a whole.
    path = match.group(2) or (b"*" if method == b"OPTIONS" else b"/")
    if path == b"*":
        return match.group(1), path
    return match.group(1), path if path.startswith(b"/") else b"/" + path


def _host(authority: bytes) -> str:
    match = _AUTHORITY.fullmatch(authority)
    return match.group(1).decode("ascii").lower().rstrip(".") if match else ""


def _request_framing(fields: list[Field], is_http_10: bool) -> tuple[int, bool]:
    """Length of the body, and whether it is chunked (RFC 9112, 6.3)."""
    codings, lengths = _values(fields, b"transfer-encoding"), _values(fields, b"content-length")
    if codings:
        if is_http_10 or lengths:
            raise Refused(400, "The length of the request's body is not clear.")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise Refused(501, "Only the transfer coding 'chunked' is understood here.")
        return 0, True
    if not lengths:
        return 0, False
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise Refused(400, "The length of the request's body is not clear.")
    return int(lengths[0]), False


def _options(fields: list[Field]) -> set[bytes]:
    """What the Connection fields list, in lower case."""
    listed = b",".join(_values(fields, b"connection")).lower()
    return {option.strip(b" \t") for option in listed.split(b",")} - {b""}


def _end_to_end(fields: list[Field], options: set[bytes]) -> list[Field]:
    # Nobody may have us drop what routing and framing rest on by listing it.
    dropped = _NEVER_FORWARDED | (options - {b"host", b"content-length", b"cookie", b"authorization"})
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def _keeps_alive(options: set[bytes], is_http_10: bool) -> bool:
    if b"close" in options:
        return False
    return not is_http_10 or b"keep-alive" in options


def _asks_for_websocket(fields: list[Field], options: set[bytes]) -> bool:
    upgrades = _values(fields, b"upgrade")
    return b"upgrade" in options and [u.lower() for u in upgrades] == [b"websocket"]


def _expects_continue(fields: list[Field], is_http_10: bool) -> bool:
    expectations = _values(fields, b"expect")
    if not expectations:
        return False
    if [e.lower() for e in expectations] != [b"100-continue"]:
        raise Refused(417, "This expectation cannot be met.")
    return not is_http_10


def parse_response(head: bytes, method: bytes) -> ResponseHead:
    """Parse a response's head for a request made with `method`. Raises `Malformed`."""
    lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None or head.count(b"\r") != len(lines) - 1 or head.count(b"\n") != len(lines) - 1:
        raise Malformed
    if _CONTROL.search(head):
        raise Malformed
    try:
        fields = _fields(lines[1:])
    except Refused:
        raise Malformed from None
    status = int(match.group(2))
    options = _options(fields)
    length, is_chunked = _response_framing(fields, status, method)
    is_http_10 = match.group(1) == b"0"
    return ResponseHead(
        status=status,
        reason=match.group(3) or b"",
        fields=_without_untrue_length(_end_to_end(fields, options), status),
        length=length,
        is_chunked=is_chunked,
        keeps_alive=_keeps_alive(options, is_http_10),
        is_websocket=status == 101 and [u.lower() for u in _values(fields, b"upgrade")] == [b"websocket"],
    )


def _without_untrue_length(fields: list[Field], status: int) -> list[Field]:
    # RFC 9110, 8.6: these have no body, and some clients would wait for one.
    if status >= 200 and status != 204:
        return fields
    return [field for field in fields if field[0].lower() != b"content-length"]


def _response_framing(fields: list[Field], status: int, method: bytes) -> tuple[int | None, bool]:
    """Length (None: until the end) and whether it is chunked (RFC 9112, 6.3)."""
    codings, lengths = _values(fields, b"transfer-encoding"), _values(fields, b"content-length")
    if method == b"HEAD" or status < 200 or status in (204, 304):
        return 0, False
    if codings:
        if len(codings) > 1 or codings[0].lower() != b"chunked" or lengths:
            raise Malformed
        return None, True
    if not lengths:
        return None, False
    if len(set(lengths)) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise Malformed
    return int(lengths[0]), False
