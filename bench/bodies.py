"""Load of large bodies, both ways, on kept-alive connections; the client's own cost is not measured."""

import contextlib
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable

from bench.load import Load

PIECE = 1024 * 1024
SECONDS = 60.0


class Client:
    """A connection that keeps asking; what went wrong is counted, not raised."""

    def __init__(self, port: int, host: str, errors: Counter[str]) -> None:
        self._address = ("127.0.0.1", port)
        self._host = host
        self._errors = errors
        self._buffer = memoryview(bytearray(PIECE))
        self._socket: socket.socket | None = None

    def down(self, path: str, size: int) -> bool:
        """Fetch `path`; True if it came whole."""
        return self._guarded(lambda connection: self._fetch(connection, path, size))

    def up(self, path: str, size: int) -> bool:
        """Send `size` bytes to `path`; True if they were taken."""
        return self._guarded(lambda connection: self._send(connection, path, size))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _guarded(self, work: Callable[[socket.socket], str]) -> bool:
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, SECONDS)
            wrong = work(self._socket)
        except OSError as error:
            wrong = type(error).__name__
        if wrong:
            self._errors[wrong] += 1
            self.close()
        return not wrong

    def _fetch(self, connection: socket.socket, path: str, size: int) -> str:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        status, got = self._head(connection)
        if status != 200:
            return f"status {status}"
        while got < size and (count := connection.recv_into(self._buffer)):
            got += count
        return "" if got == size else "cut short"

    def _send(self, connection: socket.socket, path: str, size: int) -> str:
        connection.sendall(f"PUT {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // PIECE):
            connection.sendall(self._buffer)
        status, _ = self._head(connection)
        return "" if status in (201, 204) else f"status {status}"

    def _head(self, connection: socket.socket) -> tuple[int, int]:
        """The status, and how much of the body came with the head."""
        got = b""
        while b"\r\n\r\n" not in got:
            piece = connection.recv(PIECE)
            if not piece:
                return 0, 0
            got += piece
        head, _, rest = got.partition(b"\r\n\r\n")
        return int(head[9:12]), len(rest)


def download(port: int, host: str, path: str, size: int, seconds: float, clients: int) -> Load:
    """Fetch `path` again and again on each connection; what has begun when the time is up is finished."""
    return _run(port, host, lambda client, _number: client.down(path, size), size, seconds, clients)


def upload(port: int, host: str, size: int, seconds: float, clients: int) -> Load:
    """Send bodies of `size` again and again on each connection."""
    return _run(port, host, lambda client, number: client.up(f"/up/{number}", size), size, seconds, clients)


def _run(port: int, host: str, once: Callable[[Client, int], bool], size: int, seconds: float, clients: int) -> Load:
    errors: Counter[str] = Counter()
    took: list[float] = []
    begun = time.monotonic()

    def repeat(number: int) -> None:
        with contextlib.closing(Client(port, host, errors)) as client:
            while True:
                start = time.monotonic()
                if once(client, number):
                    took.append(time.monotonic() - start)
                if time.monotonic() - begun >= seconds:
                    return

    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p99 = quantiles(took)
    return Load(len(took), len(took) * size, time.monotonic() - begun, p50, p99, dict(errors))


def quantiles(took: list[float]) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    if len(took) < 2:
        return (took[0] * 1e3, took[0] * 1e3) if took else (0.0, 0.0)
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return cuts[49] * 1e3, cuts[98] * 1e3
