"""Connections to backends: opened, kept alive, and dropped when they have gone stale."""

import select
import time

from gevent import socket

from proxy.stream import Stream

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
MOST_IDLE = 64


class Unreachable(Exception):
    """No connection to a backend could be made; `timed_out` tells silence from refusal."""

    def __init__(self, timed_out: bool) -> None:
        super().__init__()
        self.timed_out = timed_out


class Pool:
    """Idle connections by address, the one used last first."""

    def __init__(self) -> None:
        self._idle: dict[str, list[tuple[float, Stream]]] = {}

    def take(self, address: str) -> Stream | None:
        """An idle connection that is still good, or None."""
        idle = self._idle.get(address)
        while idle:
            since, stream = idle.pop()
            if time.monotonic() - since < IDLE_SECONDS and not _has_ended(stream):
                return stream
            stream.close()
        return None

    def give(self, address: str, stream: Stream) -> None:
        """Keep a connection whose last answer was read whole."""
        idle = self._idle.setdefault(address, [])
        if len(idle) < MOST_IDLE and not stream.buffer:
            idle.append((time.monotonic(), stream))
        else:
            stream.close()

    def forget(self, address: str) -> None:
        """Close the idle connections to an address that left the table."""
        for _, stream in self._idle.pop(address, ()):
            stream.close()

    def sweep(self) -> None:
        """Close what has been idle for too long."""
        oldest = time.monotonic() - IDLE_SECONDS
        for address, idle in list(self._idle.items()):
            for _, stream in [entry for entry in idle if entry[0] < oldest]:
                stream.close()
            idle[:] = [entry for entry in idle if entry[0] >= oldest]
            if not idle:
                del self._idle[address]


def _has_ended(stream: Stream) -> bool:
    """Whether an idle connection is readable: its peer closed it, or sent what nobody asked for."""
    poll = select.poll()
    poll.register(stream.sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def connect(address: str) -> Stream:
    """A fresh connection to `host:port`. Raises `Unreachable`."""
    host, _, port = address.rpartition(":")
    try:
        sock = socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except TimeoutError:
        raise Unreachable(timed_out=True) from None
    except (OSError, ValueError):
        raise Unreachable(timed_out=False) from None
    return Stream(sock)
