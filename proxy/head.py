"""Heads of requests, parsed strictly (RFC 9112): what peers could read in two ways is refused.

Pure functions over bytes; nothing here does input or output. Browsers send the same fields with each request, so parsed
blocks are remembered, as many as fit a bound.
"""

import re
import socket

from proxy import fields
from proxy.fields import FieldBlock, Malformed, TooMany, Unclear, parse_block, remember

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])")
_ANY_VERSION = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP/[0-9]\.[0-9]")
# Narrower than RFC 3986, 3.2.2: names that can be in DNS (and _, which people use), or an address.
_AUTHORITY = re.compile(rb"((?:[0-9A-Za-z_-]+)(?:\.[0-9A-Za-z_-]+)*\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?")
_LONGEST_HOST = 253
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([/?].*)?", re.IGNORECASE)
_CHUNKED = b"chunked"
# What may be tunnelled after 101: anything but other versions of HTTP and TLS, which would pass our rules by.
_NO_TUNNEL = re.compile(rb"h2c?|http|tls", re.IGNORECASE)
_PROTOCOL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?")


# Hosts by authorities that were found valid.
_HOSTS: dict[bytes, bytes] = {}


class Refused(Exception):
    """A request that gets an error answer instead of a backend: `status` and a sentence for its sender."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestFields:
    """What a request's field block says; shared by all requests with the same block, so nobody changes it.

    `host` is lower-case without port, empty without a Host; the body is `length` bytes, or chunked. `lines` is what the
    backend gets of it: Host, the end-to-end fields, the framing, and the part of our forwarding fields that the
    connection's own part follows (`proxy.forwarded`).
    """

    __slots__ = ("authority", "block", "expects_continue", "host", "is_chunked", "length", "lines", "upgrade")

    def __init__(self, block: FieldBlock) -> None:
        if len(block.hosts) > 1:
            raise Refused(400, "The request must name exactly one Host.")
        self.block = block
        self.authority = block.hosts[0] if block.hosts else b""
        host = _HOSTS.get(self.authority)
        if host is None:
            if block.hosts and not is_authority(self.authority):
                raise Refused(400, "The request's Host is not valid.")
            host = host_of(self.authority)
            if block.hosts:
                remember(_HOSTS, self.authority, host)
        self.host = host
        self.length, self.is_chunked = _request_framing(block)
        self.upgrade = _upgrade(block, self.is_chunked or self.length > 0)
        self.expects_continue = _expects_continue(block)
        self.lines = self.lines_for(self.authority, self.upgrade) + forwarded_host(self.authority)

    def lines_for(self, authority: bytes, upgrade: bytes) -> bytes:
        """The backend's lines for a request to `authority`, without any forwarding field."""
        parts = [b"Host: ", authority, b"\r\n", self.block.kept, self.framing]
        if upgrade:
            parts += [b"Connection: Upgrade\r\nUpgrade: ", upgrade, b"\r\n"]
        return b"".join(parts)

    @property
    def framing(self) -> bytes:
        if self.is_chunked:
            return b"Transfer-Encoding: chunked\r\n"
        return b"Content-Length: %d\r\n" % self.length if self.block.lengths else b""


class RequestHead:
    """A request without its body. `target` is in origin form, or `*`; `onward` is what the backend gets for it."""

    __slots__ = ("authority", "fields", "host", "is_http_10", "method", "onward", "target")

    def __init__(self, method: bytes, target: bytes, is_http_10: bool, fields: RequestFields) -> None:
        self.method = method
        self.target = self.onward = target
        self.is_http_10 = is_http_10
        self.fields = fields
        self.authority = fields.authority
        self.host = fields.host

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    @property
    def keeps_alive(self) -> bool:
        options = self.fields.block.options
        if not options:
            return not self.is_http_10
        return b"close" not in options and (not self.is_http_10 or b"keep-alive" in options)

    @property
    def length(self) -> int:
        return self.fields.length

    @property
    def is_chunked(self) -> bool:
        return self.fields.is_chunked

    @property
    def has_body(self) -> bool:
        return self.fields.is_chunked or self.fields.length > 0

    @property
    def upgrade(self) -> bytes:
        """The protocol that the client wants to go on with, empty when it wants none that may be."""
        return b"" if self.is_http_10 or self.method != b"GET" else self.fields.upgrade

    @property
    def expects_continue(self) -> bool:
        return self.fields.expects_continue and not self.is_http_10

    def lines(self) -> bytes:
        """The backend's lines, ending with the beginning of our forwarding fields."""
        if self.authority is self.fields.authority and not self.fields.upgrade:
            return self.fields.lines
        return self.end_to_end_lines() + forwarded_host(self.authority)

    def end_to_end_lines(self) -> bytes:
        """The backend's lines without any forwarding field."""
        return self.fields.lines_for(self.authority, self.upgrade)


class RequestParser:
    """Parses heads within limits (bytes of the first line, number of fields); remembers field blocks."""

    def __init__(self, most_line_bytes: int = 16384, most_fields: int = 200) -> None:
        self._most_line_bytes = most_line_bytes
        self._most_fields = most_fields
        self._lines: dict[bytes, tuple[bytes, bytes, bool, bool]] = {}
        self._remembered: dict[bytes, RequestFields] = {}

    def parse(self, head: bytes) -> RequestHead:
        """Parse a request's head, given without the empty line that ends it. Raises `Refused`."""
        line, _, block = head.partition(b"\r\n")
        read = self._lines.get(line)
        if read is None:
            read = self._read_line(line)
        found = self._remembered.get(block)
        if found is None:
            found = self._fields(block)
        method, target, is_http_10, is_usual = read
        request = RequestHead(method, target, is_http_10, found)
        if not (is_usual and found.authority):
            _check_unusual(request)
        return request

    def _read_line(self, line: bytes) -> tuple[bytes, bytes, bool, bool]:
        """Method, target, whether it is HTTP/1.0, and whether nothing about it needs a closer look."""
        match = _REQUEST_LINE.fullmatch(line)
        if match is None or len(line) > self._most_line_bytes:
            raise self._bad_line(line)
        method, target, minor = match.groups()
        is_http_10 = minor == b"0"
        read = (method, target, is_http_10, target[0] == 0x2F and method not in _UNSERVED and not is_http_10)
        remember(self._lines, line, read)
        return read

    def _fields(self, block: bytes) -> RequestFields:
        try:
            found = RequestFields(parse_block(block, fields.REQUEST_NAMES, self._most_fields))
        except TooMany:
            raise Refused(431, "The request has too many header fields.") from None
        except Unclear:
            raise Refused(400, "The length of the request's body is not clear.") from None
        except Malformed:
            raise Refused(400, "A header field is not valid.") from None
        remember(self._remembered, block, found)
        return found

    def _bad_line(self, line: bytes) -> Refused:
        if len(line) > self._most_line_bytes:
            return Refused(414, "The request's address is too long.")
        if _ANY_VERSION.fullmatch(line) and not line.endswith((b"HTTP/1.0", b"HTTP/1.1")):
            return Refused(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
        return Refused(400, "The request's first line is not valid.")


def forwarded_host(authority: bytes) -> bytes:
    """X-Forwarded-Host, and the beginning of a Forwarded line (RFC 7239, 4)."""
    if not authority:
        return b"Forwarded: "
    return b'X-Forwarded-Host: %s\r\nForwarded: host="%s";' % (authority, authority)


_UNSERVED = frozenset((b"CONNECT", b"TRACE"))
_parser = RequestParser()


def parse_request(head: bytes) -> RequestHead:
    """Parse a request's head within the usual limits. Raises `Refused`."""
    return _parser.parse(head)


def _check_unusual(request: RequestHead) -> None:
    """What few requests are: of an odd method or target form, of HTTP/1.0, without a Host."""
    if request.method in _UNSERVED:
        raise Refused(405, "This method is not served here.")
    hosts = request.fields.block.hosts
    if not hosts and not request.is_http_10:
        raise Refused(400, "The request must name exactly one Host.")
    if request.is_http_10 and request.is_chunked:
        raise Refused(400, "The length of the request's body is not clear.")
    target = request.target
    if not target.startswith(b"/") and target != b"*":
        request.authority, request.target = _absolute(target, request.method)
        request.onward = request.target
        request.host = host_of(request.authority)
        if hosts and host_of(hosts[0]) != request.host:
            raise Refused(400, "The request's target and its Host name different servers.")
    elif target == b"*" and request.method != b"OPTIONS":
        raise Refused(400, "The request's target is not valid.")


def is_authority(text: bytes) -> bool:
    """Whether `text` is a host name or address with or without a port."""
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
    """Authority and path of a target in absolute form (RFC 9112, 3.2.2)."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not is_authority(match.group(1)):
        raise Refused(400, "The request's target is not valid.")
    # RFC 9112, 3.2.4: nothing after the authority means the server as a whole.
    path = match.group(2) or (b"*" if method == b"OPTIONS" else b"/")
    if path == b"*" or path.startswith(b"/"):
        return match.group(1), path
    return match.group(1), b"/" + path


def host_of(authority: bytes) -> bytes:
    """The host of an authority in lower case, without its port and final dot."""
    match = _AUTHORITY.fullmatch(authority)
    return match.group(1).lower().rstrip(b".") if match else b""


def _request_framing(block: FieldBlock) -> tuple[int, bool]:
    """Length of the body, and whether it is chunked (RFC 9112, 6.3)."""
    if block.codings:
        if block.lengths:
            raise Refused(400, "The length of the request's body is not clear.")
        codings = [coding.strip(b" \t") for coding in b",".join(block.codings).lower().split(b",")]
        if codings == [_CHUNKED]:
            return 0, True
        if codings[-1] != _CHUNKED or _CHUNKED in codings[:-1] or b"" in codings:
            raise Refused(400, "The length of the request's body is not clear.")
        raise Refused(501, "Only the transfer coding 'chunked' is understood here.")
    if len(block.lengths) > 1:
        raise Refused(400, "The length of the request's body is not clear.")
    return block.length() or 0, False


def _upgrade(block: FieldBlock, has_body: bool) -> bytes:
    # With a body it would not be clear where the body ends and the tunnel begins.
    if has_body or len(block.upgrades) != 1 or b"upgrade" not in block.options:
        return b""
    (protocol,) = block.upgrades
    return protocol if _PROTOCOL.fullmatch(protocol) and not _NO_TUNNEL.match(protocol) else b""


def _expects_continue(block: FieldBlock) -> bool:
    if not block.expectations:
        return False
    if [expectation.lower() for expectation in block.expectations] != [b"100-continue"]:
        raise Refused(417, "This expectation cannot be met.")
    return True
