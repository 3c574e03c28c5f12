"""Backends that keep every byte they were sent, and a client that sends bytes as they are."""

import contextlib
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field

from tests.proxy import strict
from tests.proxy.wire import Wire, connect


@dataclass(slots=True)
class Record:
    """What one backend was sent: the bytes by connection, and the whole requests in their order."""

    connections: list[bytearray] = field(default_factory=list)
    requests: list[strict.Request] = field(default_factory=list)

    def unsafe(self) -> list[str]:
        """Why what was sent could be read in another way; empty when it could not."""
        verdicts = [strict.requests(bytes(sent))[1] for sent in self.connections]
        return [verdict for verdict in verdicts if verdict not in ("nothing", "part")]


@dataclass(slots=True)
class _Connection:
    record: Record
    sent: bytearray
    answered: int = 0


class Recorders:
    """Any number of recording backends in one thread; each answers a whole request with what it was."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._waker, wakened = socket.socketpair()
        self._selector.register(wakened, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self) -> tuple[str, Record]:
        """A new backend's address and record."""
        listener = socket.create_server(("127.0.0.1", 0))
        record = Record()
        with self._lock:
            self._selector.register(listener, selectors.EVENT_READ, record)
        return f"127.0.0.1:{listener.getsockname()[1]}", record

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select(0.2):
                if key.data is None:
                    return
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if isinstance(key.data, Record):
                    self._accept(sock, key.data)
                else:
                    self._serve(sock, key.data)

    def _accept(self, listener: socket.socket, record: Record) -> None:
        sock, _ = listener.accept()
        record.connections.append(bytearray())
        with self._lock:
            self._selector.register(sock, selectors.EVENT_READ, _Connection(record, record.connections[-1]))

    def _serve(self, sock: socket.socket, connection: _Connection) -> None:
        try:
            piece = sock.recv(65536)
        except OSError:
            piece = b""
        connection.sent += piece
        found, verdict = strict.requests(bytes(connection.sent))
        new = found[connection.answered :]
        connection.answered = len(found)
        connection.record.requests += new
        try:
            for request in new:
                sock.sendall(_answer(request))
        except OSError:
            piece = b""
        if not piece or verdict not in ("nothing", "part"):
            self._selector.unregister(sock)
            sock.close()

    def close(self) -> None:
        self._waker.close()
        self._thread.join(20)
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


def _answer(request: strict.Request) -> bytes:
    body = b"%s %s %d" % (request.method, request.target, len(request.body))
    head = b"HTTP/1.1 200 OK\r\nX-Recorded: yes\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head if request.method == b"HEAD" else head + body


def converse(port: int, raw: bytes, seconds: float = 15) -> bytes:
    """What comes back for `raw`: all until the proxy closes, or until everything clearly asked is answered."""
    asked, verdict = strict.requests(raw, of_client=True)
    methods = [request.method for request in asked]
    deadline = time.monotonic() + seconds
    with connect(port) as wire, contextlib.suppress(ConnectionResetError):
        wire.sock.settimeout(seconds)
        received = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(raw)
        while piece := wire.piece():
            received += piece
            assert time.monotonic() < deadline, "the proxy neither answers nor closes"
            if verdict == "nothing" and _is_answered(received, methods):
                break
    return received


def _is_answered(received: bytes, methods: list[bytes]) -> bool:
    found, is_whole = strict.responses(received, methods, has_ended=False)
    return is_whole and len(found) >= len(methods)


def send_in_pieces(wire: Wire, pieces: list[bytes]) -> None:
    """Each piece in a write (and a segment) of its own, as long as anybody reads."""
    wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for piece in pieces:
            wire.send(piece)
            # Long enough for the other side to read it alone, mostly.
            time.sleep(0.001)
