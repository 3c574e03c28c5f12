"""The narrowest reading of HTTP/1, written apart from the proxy's own, to judge what passed through it.

What two readers could take for different things raises `Bad`. Of a client some more is allowed than of the
proxy as a client: empty lines before a request, HTTP/1.0, targets in absolute form, chunk extensions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

Field = tuple[bytes, bytes]

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])")
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [\t -~\x80-\xff]*")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
_HOST = re.compile(rb"([0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?]+)([/?].*)?", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})")
_SIZE_AND_MORE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?")


class Bad(Exception):
    """Bytes that are no HTTP/1, or that another reader could understand differently."""


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; `fields` without those of its framing, names in lower case."""

    method: bytes
    target: bytes
    fields: tuple[Field, ...]
    body: bytes

    @property
    def core(self) -> tuple[bytes, bytes, bytes]:
        return self.method, self.target, self.body

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


@dataclass(frozen=True, slots=True)
class Response:
    """A whole final response."""

    status: int
    fields: tuple[Field, ...]
    body: bytes


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int = 0

    def line(self) -> bytes | None:
        end = self.data.find(b"\r\n", self.at)
        line = self.data[self.at : end if end >= 0 else len(self.data)]
        if b"\n" in line or b"\r" in (line if end >= 0 else line[:-1]) or b"\0" in line:
            raise Bad(f"a control byte in {line[:80]!r}")
        if end < 0:
            return None
        self.at = end + 2
        return line

    def exactly(self, length: int) -> bytes | None:
        if len(self.data) - self.at < length:
            return None
        self.at += length
        return self.data[self.at - length : self.at]


def requests(data: bytes, of_client: bool = False) -> tuple[list[Request], str]:
    """The whole requests in `data`, and what follows them: "nothing", "part" of one, or why it is bad."""
    found: list[Request] = []
    reader = _Reader(data)
    try:
        while reader.at < len(data):
            request = _request(reader, of_client)
            if request is None:
                return found, "part"
            found.append(request)
    except Bad as bad:
        return found, str(bad)
    return found, "nothing"


def _request(reader: _Reader, of_client: bool) -> Request | None:
    line = reader.line()
    while of_client and line == b"":
        line = reader.line()
    if line is None:
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        raise Bad(f"no request line: {line[:80]!r}")
    is_10 = match[3] == b"0"
    fields = _fields(reader)
    if fields is None:
        return None
    target = _target(match[1], match[2], fields, of_client, is_10)
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    lengths = [value for name, value in fields if name == b"content-length"]
    if codings:
        if lengths or is_10 or [c.lower() for c in codings] != [b"chunked"]:
            raise Bad("an unclear length")
        body = _chunks(reader, of_client)
    else:
        body = reader.exactly(_length(lengths))
    kept = tuple(field for field in fields if field[0] not in (b"transfer-encoding", b"content-length"))
    return None if body is None else Request(match[1], target, kept, body)


def _length(lengths: list[bytes]) -> int:
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise Bad("an unclear length")
    return int(lengths[0]) if lengths else 0


def _fields(reader: _Reader) -> list[Field] | None:
    fields = []
    while (line := reader.line()) != b"":
        if line is None:
            return None
        name, colon, value = line.partition(b":")
        if not (colon and _TOKEN.fullmatch(name) and _VALUE.fullmatch(value)):
            raise Bad(f"no field: {line[:80]!r}")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields


def _target(method: bytes, target: bytes, fields: list[Field], of_client: bool, is_10: bool) -> bytes:
    if is_10 and not of_client:
        raise Bad("HTTP/1.0 passed on")
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or not (hosts or is_10) or not all(_is_host(host) for host in hosts):
        raise Bad(f"not one good Host: {hosts!r}")
    if b"#" in target:
        raise Bad("a fragment in the target")
    absolute = _ABSOLUTE.fullmatch(target) if of_client else None
    if absolute and _is_host(absolute[1]):
        path = absolute[2] or (b"*" if method == b"OPTIONS" else b"/")
        return path if path[:1] in b"/*" else b"/" + path
    if not (target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")):
        raise Bad(f"no target: {target!r}")
    return target


def _is_host(text: bytes) -> bool:
    match = _HOST.fullmatch(text)
    return match is not None and int(text.rpartition(b":")[2] or 0 if match[3] else 0) < 65536


def _chunks(reader: _Reader, may_extend: bool) -> bytes | None:
    parts: list[bytes] = []
    while (line := reader.line()) is not None:
        match = (_SIZE_AND_MORE if may_extend else _SIZE).fullmatch(line)
        if match is None:
            raise Bad(f"no chunk size: {line[:80]!r}")
        if int(match[1], 16) == 0:
            return None if _fields(reader) is None else b"".join(parts)
        part = reader.exactly(int(match[1], 16))
        end = reader.data[reader.at : reader.at + 2] if part is not None else b""
        if not b"\r\n".startswith(end):
            raise Bad("no line end after a chunk")
        if part is None or reader.exactly(2) is None:
            return None
        parts.append(part)
    return None


def responses(data: bytes, methods: Sequence[bytes], has_ended: bool = True) -> tuple[list[Response], bool]:
    """The whole final responses to these requests (GET after the last), and whether nothing is left over."""
    found: list[Response] = []
    reader = _Reader(data)
    while reader.at < len(data):
        method = methods[len(found)] if len(found) < len(methods) else b"GET"
        before = reader.at
        response = _response(reader, method, has_ended)
        if response is None:
            reader.at = before
            return found, False
        if response.status >= 200:
            found.append(response)
    return found, True


def _response(reader: _Reader, method: bytes, has_ended: bool) -> Response | None:
    line = reader.line()
    if line is None:
        return None
    match = _STATUS.fullmatch(line)
    if match is None:
        raise Bad(f"no status line: {line[:80]!r}")
    fields = _fields(reader)
    if fields is None:
        return None
    body = _response_body(reader, int(match[1]), method, fields, has_ended)
    return None if body is None else Response(int(match[1]), tuple(fields), body)


def _response_body(reader: _Reader, status: int, method: bytes, fields: list[Field], has_ended: bool) -> bytes | None:
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    lengths = [value for name, value in fields if name == b"content-length"]
    if codings and (lengths or codings != [b"chunked"]):
        raise Bad("an unclear length")
    if method == b"HEAD" or status < 200 or status in (204, 304):
        return b""
    if codings:
        return _chunks(reader, may_extend=False)
    if lengths:
        return reader.exactly(_length(lengths))
    return reader.exactly(len(reader.data) - reader.at) if has_ended else None
