"""HTTP/1 by hand: raw client connections and backends that answer exactly what a test says."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass

SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Message:
    """A request or response; field names in lower case."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.line.split(" ")[1])

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def text(self) -> str:
        return self.body.decode()


class Wire:
    """One side of a connection. Reading past the end raises `EOFError`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        sock.settimeout(SECONDS)

    def send(self, content: bytes) -> None:
        self.sock.sendall(content)

    def piece(self) -> bytes:
        """Whatever is there or comes next; empty at the end."""
        if self.buffer:
            piece, self.buffer = self.buffer, b""
            return piece
        return self.sock.recv(65536)

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self._more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def exactly(self, length: int) -> bytes:
        while len(self.buffer) < length:
            self._more()
        found, self.buffer = self.buffer[:length], self.buffer[length:]
        return found

    def rest(self) -> bytes:
        """Everything until the other side closes."""
        parts = []
        while piece := self.piece():
            parts.append(piece)
        return b"".join(parts)

    def _more(self) -> None:
        piece = self.sock.recv(65536)
        if not piece:
            raise EOFError(self.buffer)
        self.buffer += piece

    def head(self) -> Message:
        """A message's head; its body is still to come."""
        line, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = [entry.partition(":") for entry in lines]
        return Message(line, [(name.lower(), value.strip()) for name, _, value in pairs])

    def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty for the last one, whose trailers must be none."""
        size = int(self.until(b"\r\n"), 16)
        content = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return content

    def chunks(self) -> bytes:
        parts = []
        while content := self.chunk():
            parts.append(content)
        return b"".join(parts)

    def body(self, head: Message, until_end: bool) -> bytes:
        if head.all("transfer-encoding"):
            return self.chunks()
        if head.all("content-length"):
            return self.exactly(int(head.one("content-length")))
        return self.rest() if until_end else b""

    def request(self) -> Message:
        head = self.head()
        return Message(head.line, head.fields, self.body(head, until_end=False))

    def response(self, has_body: bool = True) -> Message:
        head = self.head()
        return Message(head.line, head.fields, self.body(head, until_end=True) if has_body else b"")

    def has_ended(self) -> bool:
        """Wait for the other side to close without another byte."""
        with contextlib.suppress(ConnectionResetError):
            return self.piece() == b""
        return True

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close so that the other side sees a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(port: int, tls: ssl.SSLContext | None = None, name: str | None = None) -> Wire:
    """A connection to a port of this machine."""
    sock = socket.create_connection(("127.0.0.1", port), SECONDS)
    return Wire(tls.wrap_socket(sock, server_hostname=name) if tls else sock)


def get(host: str, path: str = "/", *fields: str, method: str = "GET") -> bytes:
    """The bytes of a request without body."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {host}", *fields, "", "")).encode()


def ok(body: bytes = b"", *fields: str) -> bytes:
    """The bytes of a plain 200."""
    return "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *fields, "", "")).encode() + body


Answer = Callable[[Message, Wire], bytes | None]


class Backend:
    """A server on a port of its own, a thread a connection.

    `answer` gives the bytes that answer a request, or None to close the connection (having sent what
    it likes itself). With `reads_body=False` it is called with the head, the body still unread.
    """

    def __init__(self, answer: Answer | bytes, reads_body: bool = True) -> None:
        self._answer: Answer = (lambda _request, _wire: answer) if isinstance(answer, bytes) else answer
        self._reads_body = reads_body
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[Message] = []
        self.connections = 0
        self._wires: list[Wire] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._wires.append(Wire(sock))
            threading.Thread(target=self._serve, args=(self._wires[-1],), daemon=True).start()

    def _serve(self, wire: Wire) -> None:
        # The proxy closes connections when it likes; what it must have sent is asserted by the tests.
        with contextlib.suppress(OSError, EOFError), wire:
            while True:
                request = wire.request() if self._reads_body else wire.head()
                self.requests.append(request)
                answer = self._answer(request, wire)
                if answer is None:
                    return
                wire.send(answer)

    def drop_connections(self) -> None:
        """End all connections, as a server does that is restarted; go on listening."""
        for wire in self._wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        # shutdown wakes the accepting thread, which close alone would not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()
