"""One side of a connection: a non-blocking socket and its watchers on the loop.

Nothing here waits. A socket stays registered for reading all its life, and for writing only while something is left
to be written; whoever produced that is told when it is gone. gevent stops a watcher whose callback raises, so each
callback here guards itself.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("proxy")

READ, WRITE = 1, 2
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Broken(Exception):
    """The other side is gone; nothing can be written to it any more."""


class Wire:
    """A connection's socket. Subclasses say what its events mean: `on_readable`, `on_drained`, `on_broken`."""

    __slots__ = ("_loop", "_out", "_reader", "_writer", "is_open", "is_reading", "recv", "send", "sock")

    def __init__(self, loop: Any, sock: socket.SocketType) -> None:
        # The plain type below `socket.socket`, which would add a few Python calls to each connection.
        self._loop = loop
        self.sock = sock
        self.recv: Callable[[int], bytes] = sock.recv
        self.send: Callable[[Any], int] = sock.send
        self._reader: Any = None
        self._writer: Any = None
        self._out: list[Any] | None = None
        self.is_reading = False
        self.is_open = True

    @property
    def is_blocked(self) -> bool:
        """Whether something is left to be written."""
        return self._out is not None

    def write(self, data: bytes) -> bool:
        """Write it; False when a part must wait for the other side (`on_drained` tells). Raises `Broken`."""
        if self._out is not None:
            self._out.append(data)
            return False
        try:
            sent = self.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            raise Broken from None
        if sent == len(data):
            return True
        self._out = [memoryview(data)[sent:]]
        self.await_writable()
        return False

    def await_writable(self) -> None:
        """Have `on_drained` called once the socket takes data and nothing is left."""
        if self._writer is None:
            self._writer = self._loop.io(self.sock.fileno(), WRITE)
        self._writer.start(self._on_writable)

    def _on_writable(self) -> None:
        try:
            if self._flush():
                self._writer.stop()
                self.on_drained()
        except Broken:
            self.on_broken()
        except Exception:
            self.crashed()

    def _flush(self) -> bool:
        while self._out:
            data = self._out[0]
            try:
                sent = self.send(data)
            except WOULD_BLOCK:
                return False
            except OSError:
                raise Broken from None
            if sent < len(data):
                self._out[0] = memoryview(data)[sent:]
                return False
            del self._out[0]
        self._out = None
        return True

    def pause(self) -> None:
        """Read no more until `resume`; the other side feels it as back-pressure."""
        if self.is_reading:
            self.is_reading = False
            self._reader.stop()

    def resume(self) -> None:
        """Read again."""
        if not self.is_reading and self.is_open:
            self.is_reading = True
            if self._reader is None:
                self._reader = self._loop.io(self.sock.fileno(), READ)
            self._reader.start(self.on_readable)

    def crashed(self) -> None:
        """Log what nobody foresaw, and close; to be called where it was caught."""
        # One connection's trouble must never be another's.
        log.exception("A connection failed")
        with contextlib.suppress(Exception):
            self.on_broken()
        self.close()

    def end_writing(self) -> None:
        """Tell the other side that nothing more comes."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self, resets: bool = False) -> None:
        """Close it; `resets` is the only sign of a broken end where the end means "all"."""
        if not self.is_open:
            return
        self.is_open = self.is_reading = False
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._out = None
        if resets:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.sock.close()
        self.on_closed()

    def on_readable(self) -> None:
        """There is something to read, or the other side has ended; must let no exception out."""
        raise NotImplementedError

    def on_drained(self) -> None:
        """All that was written is gone."""
        raise NotImplementedError

    def on_broken(self) -> None:
        """The other side is gone."""
        raise NotImplementedError

    def on_closed(self) -> None:
        """We have closed it."""
