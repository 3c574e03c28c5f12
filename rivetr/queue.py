"""The only door to Huey: the queue in its own SQLite file, and the datagram that wakes a worker at once.

Huey polls; measured, that is either slow to start (1.7 s) or busy while idle. Here whoever puts a
task in sends a datagram to the worker's socket, and an empty queue is waited for on that socket.
"""

import contextlib
import hashlib
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huey.api import Huey
from huey.storage import SqliteStorage

from rivetr import config

# A datagram can be lost between two workers' looks; an idle queue is looked at this often anyway.
SAFETY_POLL_SECONDS = 1.0


class SignalledStorage(SqliteStorage):  # type: ignore[misc]
    """Huey's SQLite storage, whose `dequeue` blocks on a socket that `enqueue` writes to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listener: socket.socket | None = None

    @property
    def blocking(self) -> bool:
        """Huey sleeps between looks at a storage that does not block; without a listener it must."""
        return self._listener is not None

    @property
    def _address(self) -> str:
        digest = hashlib.sha256(os.path.realpath(self.filename).encode()).hexdigest()[:16]
        return f"\0rivetr-queue-{digest}"

    def listen(self) -> None:
        """Become the worker that is woken; raises OSError when another one listens already."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listener.bind(self._address)
        except OSError:
            listener.close()
            raise
        self._listener = listener

    def close(self) -> None:
        """Stop being the worker, and close this thread's connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        super().close()

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        super().enqueue(data, priority)
        self.wake()

    def wake(self) -> bool:
        """Tell the worker to look now; False when no worker listens (it looks when it starts)."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            try:
                sender.sendto(b"!", self._address)
            except ConnectionRefusedError:
                return False
            except BlockingIOError:
                # A full socket: the worker has been told often enough.
                return True
        return True

    def dequeue(self) -> Any:
        task = super().dequeue()
        if task is None and self._listener is not None:
            select.select([self._listener], [], [], SAFETY_POLL_SECONDS)
            with contextlib.suppress(BlockingIOError):
                self._listener.recv(16)
            task = super().dequeue()
        return task


def storage_at(path: Path) -> SignalledStorage:
    """The queue that the SQLite file `path` holds, made when it is not there."""
    return SignalledStorage("rivetr", filename=str(path), timeout=30)


class InstanceHuey(Huey):  # type: ignore[misc]
    """Huey that opens the instance's queue at its first use: when this is imported, the settings are not read yet."""

    _storage: SignalledStorage | None = None

    def create_storage(self) -> None:
        """Huey asks for its storage when it is made, which is too early."""

    @property
    def storage(self) -> SignalledStorage:
        if self._storage is None:
            self._storage = storage_at(config.current().queue_database)
        return self._storage

    @storage.setter
    def storage(self, storage: SignalledStorage | None) -> None:
        self._storage = storage


huey = InstanceHuey("rivetr")


def task(function: Callable[[str], None]) -> Callable[[str], None]:
    """Make calls of `function` (an id) go to the queue; the worker makes the real call."""
    queued: Callable[[str], None] = huey.task()(function)
    return queued


def depth() -> int:
    """How many tasks wait."""
    return int(huey.storage.queue_size())
