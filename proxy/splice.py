"""Long bodies of known length between two plain sockets, moved by the kernel through a pipe (splice(2))."""

from __future__ import annotations

import contextlib
import fcntl
import os

from proxy.wire import Wire

# Below this the two more system calls cost more than copying.
SHORTEST = 256 * 1024
_PIPE_BYTES = 1024 * 1024
_MOST_KEPT = 16


class Pipes:
    """Pipes that are empty and may be used again."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int]:
        """A reading and a writing end. Raises `OSError` when the process may open no more files."""
        if self._kept:
            return self._kept.pop()
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # What an unprivileged user's share of pipe memory does not allow is not needed.
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return reading, writing

    def give(self, pipe: tuple[int, int], is_empty: bool) -> None:
        """Back, when it is over."""
        if is_empty and len(self._kept) < _MOST_KEPT:
            self._kept.append(pipe)
        else:
            for end in pipe:
                os.close(end)


class Ended(Exception):
    """The source ended before all of the body had come."""


class Splice:
    """Moves `left` bytes from `source` to `target`, as both are able to."""

    __slots__ = ("_held", "_pipe", "_pipes", "left", "source", "target")

    def __init__(self, pipes: Pipes, source: Wire, target: Wire, length: int) -> None:
        self._pipes = pipes
        self._pipe = pipes.take()
        self._held = 0
        self.source = source
        self.target = target
        self.left = length

    def move(self) -> int:
        """Move what can be moved now and give how much came; raises `Ended`, `OSError`."""
        reading, writing = self._pipe
        came = 0
        if not self._held and self.left:
            try:
                came = os.splice(self.source.sock.fileno(), writing, min(self.left, _PIPE_BYTES))
            except BlockingIOError:
                return 0
            if came == 0:
                raise Ended
            self._held = came
            self.left -= came
        while self._held:
            try:
                self._held -= os.splice(reading, self.target.sock.fileno(), self._held)
            except BlockingIOError:
                self.source.pause()
                self.target.await_writable()
                return came
        if self.left:
            self.source.resume()
        return came

    @property
    def is_done(self) -> bool:
        return not self.left and not self._held

    def close(self) -> None:
        """Give the pipe back."""
        self._pipes.give(self._pipe, is_empty=not self._held)
