"""HTTP over a Unix socket: a light ping, and streams that another greenlet or thread can end.

The engine's SDK does the plain calls. It cannot do these: it costs 20 MB to import, it hides which of
a container's two outputs a line came from, and its build call has no CPU limit.
"""

import json
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from types import TracebackType


class _Connection(HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


class Exchange:
    """One request to the socket at `path` on a connection of its own; `close` it, or use it with `with`.

    `timeout` is for connecting and for each wait; `endless` lifts it once an answer has begun.
    """

    def __init__(self, path: str, timeout: float | None) -> None:
        self._connection = _Connection(path, timeout)
        self._socket: socket.socket | None = None
        self._response: HTTPResponse | None = None

    def send(
        self, method: str, target: str, body: Iterable[bytes] | None = None, headers: Mapping[str, str] | None = None
    ) -> HTTPResponse:
        """Send the request, streaming `body` piece by piece, and give the answer once its head is here."""
        self._connection.connect()
        self._socket = self._connection.sock
        given = {"Connection": "close", **(headers or {})}
        if body is not None:
            given["Transfer-Encoding"] = "chunked"
        # The engine may refuse before it has read the whole body; then its answer says why.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request(method, target, body, given, encode_chunked=True)
        self._response = self._connection.getresponse()
        return self._response

    def endless(self) -> None:
        """Let the rest of the answer take as long as it likes."""
        if self._socket:
            self._socket.settimeout(None)

    def interrupt(self) -> None:
        """Make a read that waits in another greenlet or thread see the end; that reader then closes."""
        if self._socket:
            # The other side, or the reader itself, may have been quicker.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back; a build that still runs is thereby called off."""
        self.interrupt()
        if self._response:
            self._response.close()
        self._connection.close()

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def refusal(response: HTTPResponse) -> str:
    """The engine's reason in an answer whose status is an error."""
    text = response.read(65536).decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text or f"status {response.status}"
