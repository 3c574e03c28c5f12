"""Heads of answers, parsed as strictly as those of requests, and remembered: backends repeat themselves."""

import re

from proxy import fields
from proxy.fields import Field, FieldBlock, Malformed, join_fields, parse_block, remember

_ANSWER_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_CHUNKED = b"chunked"


class ResponseHead:
    """A response without its body; the same for every request, so what HEAD means for it is the exchange's affair.

    `start` holds the status line and the end-to-end fields, `framing` the Content-Length line or nothing; `length` is
    None without one. `is_verbatim`: both together are just what the backend sent.

    `whole_head` is the head up to its end for a client that keeps its connection, and `whole_length` the size of a body
    that may follow it as it is; -1 where there is more to look at.
    """

    __slots__ = (
        "framing",
        "is_chunked",
        "is_http_10",
        "is_verbatim",
        "keeps_alive",
        "length",
        "start",
        "status",
        "upgrade",
        "whole_head",
        "whole_length",
    )

    def __init__(self, head: bytes, most_fields: int) -> None:
        line, _, block = head.partition(b"\r\n")
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise Malformed
        found = parse_block(block, fields.RESPONSE_NAMES, most_fields)
        self.is_http_10 = match.group(1) == b"0"
        self.status = int(match.group(2))
        self.length = found.length()
        self.is_chunked = _is_chunked_response(found)
        options = found.options
        self.keeps_alive = b"close" not in options and (not self.is_http_10 or b"keep-alive" in options)
        self.upgrade = found.upgrades[0].lower() if len(found.upgrades) == 1 and b"upgrade" in options else b""
        self.start = b"HTTP/1.1 %s %s\r\n%s" % (match.group(2), match.group(3) or b"", found.kept)
        self.framing = b"Content-Length: %d\r\n" % self.length if self.length is not None else b""
        self.whole_head = self.start + self.framing + b"\r\n"
        is_usual = self.status >= 200 and self.status not in (204, 304) and self.keeps_alive
        self.whole_length = self.length if is_usual and self.length is not None else -1
        lines = block.count(b"\r\n") + 1 if block else 0
        nothing_dropped = found.count + bool(self.framing) == lines and not self.is_http_10
        self.is_verbatim = nothing_dropped and b"\r\n" + self.framing[:-2] in head

    @property
    def last_head(self) -> bytes:
        """The head up to its end for a client whose connection ends with this answer."""
        return self.start + self.framing + b"Connection: close\r\n\r\n"

    @property
    def fields(self) -> list[Field]:
        """The end-to-end fields as pairs, without Content-Length."""
        return fields.split_lines(self.start.partition(b"\r\n")[2])

    def with_fields(self, given: list[Field]) -> bytes:
        """The status line and these fields in place of its own."""
        return self.start.partition(b"\r\n")[0] + b"\r\n" + join_fields(given)


def _is_chunked_response(block: FieldBlock) -> bool:
    if not block.codings:
        return False
    # A length beside it, or another coding that we would have to undo, makes the end unclear (RFC 9112, 6.3).
    if len(block.codings) > 1 or block.codings[0].lower() != _CHUNKED or block.lengths:
        raise Malformed
    return True


def split_answer(data: bytes) -> tuple[bytes | None, int]:
    """An answer's head without its end, and where its body begins; None while it is not all there.

    Line ends without CR are mended: CGI programs of small servers write them, and RFC 9112, 2.2 lets us take them. What
    goes on has one reading. Requests come from strangers and get no such leave.
    """
    end = _ANSWER_END.search(data)
    if end is None:
        return None, len(data)
    head = data[: end.start()]
    if head.count(b"\n") != head.count(b"\r\n") or end.group() != b"\r\n\r\n":
        head = head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return head, end.end()


class ResponseParser:
    """Parses heads of answers; remembers them."""

    def __init__(self, most_fields: int = 1000) -> None:
        self._most_fields = most_fields
        # By the head's bytes, those parsed before.
        self.remembered: dict[bytes, ResponseHead] = {}

    def try_to(self, head: bytes) -> ResponseHead | None:
        """The same; None for what is malformed, or may be the wrong head because its lines end differently."""
        try:
            return self.parse(head)
        except Malformed:
            return None

    def parse(self, head: bytes) -> ResponseHead:
        """Parse a response's head, given without the empty line that ends it. Raises `Malformed`."""
        found = self.remembered.get(head)
        if found is None:
            found = ResponseHead(head, self._most_fields)
            remember(self.remembered, head, found)
        return found
