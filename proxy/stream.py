"""One side of a connection, read through a buffer: heads, and bodies piece by piece."""

import contextlib
import re
import select
import struct
import time
from collections.abc import Callable, Iterator

from gevent import socket

from proxy.head import MAX_HEAD, MAX_REQUEST_LINE, Refused

PIECE = 64 * 1024
_LOOK_SECONDS = 2.0
# Every wait for a body's next piece, and for a peer to take one.
STALL_SECONDS = 60.0
_BARE_LF = re.compile(rb"(?<!\r)\n")
_SLOPPY_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_LONGEST_CHUNK_LINE = 4096
_MOST_TRAILER_BYTES = 16 * 1024


class Ended(Exception):
    """The other side closed (or reset) the connection before the message was whole."""


class Reset(Ended):
    """The connection broke, so what came last need not be all there was."""


class BrokenBody(Exception):
    """A chunked body that does not follow RFC 9112, 7.1."""


class Stream:
    """A gevent socket and what was read from it but not yet used.

    `stall_seconds` bounds each wait for a body's next piece; `while_waiting` is called now and then
    during a long wait, and may raise to end it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()
        self.stall_seconds = STALL_SECONDS
        self.while_waiting: Callable[[], None] | None = None
        self.is_tunnel = False

    def fill(self, seconds: float = STALL_SECONDS) -> None:
        """Read more, waiting `seconds` at most. Raises `Ended`, `TimeoutError`."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.sock.settimeout(min(left, _LOOK_SECONDS) if self.while_waiting else left)
            try:
                piece = self.sock.recv(PIECE)
            except TimeoutError:
                if self.while_waiting:
                    self.while_waiting()
                continue
            except OSError as error:
                raise Reset from error
            if not piece:
                raise Ended
            self.buffer += piece
            return

    def has_peer(self) -> bool:
        """Whether the other side has not closed its end (poll(2), POLLRDHUP)."""
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)

    def send(self, content: bytes | bytearray) -> None:
        """Write all of it. Raises `Ended` when the other side is gone or takes nothing for too long."""
        self.sock.settimeout(STALL_SECONDS)
        try:
            self.sock.sendall(content)
        except OSError as error:
            raise Ended from error

    def response_head(self, seconds: float) -> bytes:
        """A backend's next head with CR LF line ends, whatever it sent (RFC 9112, 2.2: LF may be taken for one).

        Many programs behind us are sloppy there; requests come from strangers and get no such leave.
        """
        deadline = time.monotonic() + seconds
        while (end := _SLOPPY_END.search(self.buffer)) is None:
            if len(self.buffer) > MAX_HEAD:
                raise Refused(502, "The answer's head is too large.")
            self.fill(deadline - time.monotonic())
        head = bytes(self.buffer[: end.start()])
        del self.buffer[: end.end()]
        return head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def head(self, seconds: float) -> bytes:
        """The next request's head without its final empty line. Raises `Ended`, `TimeoutError`, `Refused`."""
        searched = 0
        deadline = time.monotonic() + seconds
        while True:
            end = self.buffer.find(b"\r\n\r\n", searched)
            if end >= 0:
                head = bytes(self.buffer[:end])
                del self.buffer[: end + 4]
                if len(head) > MAX_HEAD:
                    raise Refused(431, "The request's head is too large.")
                return head
            if len(self.buffer) > MAX_HEAD:
                raise self._too_large()
            if len(self.buffer) > MAX_REQUEST_LINE and b"\r\n" not in self.buffer:
                raise self._too_large()
            if _BARE_LF.search(self.buffer):
                raise Refused(400, "Lines must end with CR LF.")
            searched = max(0, len(self.buffer) - 3)
            self.fill(deadline - time.monotonic())

    def _too_large(self) -> Refused:
        if self.buffer.find(b"\r\n", 0, MAX_REQUEST_LINE + 2) < 0:
            return Refused(414, "The request's address is too long.")
        return Refused(431, "The request's head is too large.")

    def take(self, most: int) -> bytes:
        """Some bytes, `most` at most: what is there, or what comes next."""
        if not self.buffer:
            self.fill(self.stall_seconds)
        piece = bytes(self.buffer[:most])
        del self.buffer[:most]
        return piece

    def exactly(self, length: int) -> Iterator[bytes]:
        """The next `length` bytes, piece by piece."""
        while length:
            piece = self.take(min(length, PIECE))
            length -= len(piece)
            yield piece

    def until_end(self) -> Iterator[bytes]:
        """Everything until the other side closes."""
        while True:
            try:
                yield self.take(PIECE)
            except Reset:
                raise
            except Ended:
                return

    def chunks(self) -> Iterator[bytes]:
        """A chunked body's content; its extensions and trailers are dropped. Raises `BrokenBody`."""
        while True:
            size = self._chunk_size()
            if size == 0:
                self._skip_trailers()
                return
            yield from self.exactly(size)
            if self._line() != b"":
                raise BrokenBody

    def _chunk_size(self) -> int:
        match = _CHUNK_SIZE.fullmatch(self._line())
        if match is None:
            raise BrokenBody
        return int(match.group(1), 16)

    def _skip_trailers(self) -> None:
        seen = 0
        while line := self._line():
            seen += len(line)
            if seen > _MOST_TRAILER_BYTES:
                raise BrokenBody

    def _line(self) -> bytes:
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > _LONGEST_CHUNK_LINE:
                raise BrokenBody
            self.fill(self.stall_seconds)
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise BrokenBody
        return line[:-2]

    def interrupt(self, how: int = socket.SHUT_RDWR) -> None:
        """End the connection (or one direction) so that whoever waits on it sees the end."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(how)

    def reset_on_close(self) -> None:
        """Let closing reset the connection: the only sign of a broken end where the end means "all"."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()
