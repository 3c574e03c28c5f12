"""Chunked bodies (RFC 9112, 7.1), read as they come and framed anew, so that only one reading of them goes on."""

import re

from proxy import fields
from proxy.fields import Malformed, Names, parse_block

# An extension is dropped, but one that is not valid means that somebody tries something.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb"\"[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]*\""
_EXTENSION = rb"[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")*")
_LONGEST_LINE = 4096
_MOST_TRAILER_BYTES, _MOST_TRAILERS = 16 * 1024, 100
# Fields that would change what the head said (RFC 9110, 6.5.1); the rest of the trailers is passed on.
_NO_TRAILER = frozenset(
    (b"host", b"content-length", b"content-encoding", b"content-type", b"content-range", b"trailer", b"authorization",
     b"cookie", b"set-cookie", b"cache-control", b"expect", b"range", b"te", b"max-forwards", b"location", b"vary")
)  # fmt: skip
LAST = b"0\r\n\r\n"


class ChunkReader:
    """Takes a chunked body in pieces of any size. `is_done` once the last chunk and the trailers were read.

    `rest` is then what came after the body. `trailers` are the lines of the fields to pass on.
    """

    __slots__ = ("_left", "_line", "_state", "_trailer_bytes", "_trailer_lines", "is_done", "rest", "trailers")

    def __init__(self) -> None:
        self._state = _SIZE_LINE
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0
        self._trailer_lines: list[bytes] = []
        self.is_done = False
        self.rest = b""
        self.trailers = b""

    def feed(self, data: bytes, names: Names = fields.REQUEST_NAMES) -> list[bytes]:
        """The content that `data` brings. Raises `Malformed`."""
        content = []
        at, size = 0, len(data)
        while at < size and not self.is_done:
            if self._state == _CONTENT:
                piece = data[at : at + self._left]
                content.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _CONTENT_END
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._keep(data[at:])
                return content
            self._keep(data[at:end])
            at = end + 1
            line, self._line = self._line, b""
            if not line.endswith(b"\r") or line.count(b"\r") > 1:
                raise Malformed
            self._take_line(line[:-1], names)
        if self.is_done:
            self.rest = data[at:]
        return content

    def _keep(self, part: bytes) -> None:
        self._line += part
        if len(self._line) > _LONGEST_LINE or (self._state == _CONTENT_END and self._line not in (b"", b"\r")):
            raise Malformed

    def _take_line(self, line: bytes, names: Names) -> None:
        if self._state == _SIZE_LINE:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise Malformed
            self._left = int(match.group(1), 16)
            self._state = _CONTENT if self._left else _TRAILERS
        elif self._state == _CONTENT_END:
            self._state = _SIZE_LINE
        elif line:
            self._trailer_bytes += len(line)
            self._trailer_lines.append(line)
            if self._trailer_bytes > _MOST_TRAILER_BYTES:
                raise Malformed
        else:
            self.trailers = _checked(self._trailer_lines, names)
            self.is_done = True


_SIZE_LINE, _CONTENT, _CONTENT_END, _TRAILERS = range(4)


def _checked(lines: list[bytes], names: Names) -> bytes:
    if not lines:
        return b""
    kept = parse_block(b"\r\n".join(lines), names, _MOST_TRAILERS).kept.split(b"\r\n")[:-1]
    allowed = [line for line in kept if line.partition(b":")[0].lower() not in _NO_TRAILER]
    return b"".join([line + b"\r\n" for line in allowed])


def framed(pieces: list[bytes]) -> bytes:
    """These pieces as one chunk; nothing for nothing, since an empty chunk would be the last."""
    content = b"".join(pieces)
    return b"%x\r\n%s\r\n" % (len(content), content) if content else b""


def last(trailers: bytes) -> bytes:
    """The end of a chunked body."""
    return b"0\r\n%s\r\n" % trailers if trailers else LAST
