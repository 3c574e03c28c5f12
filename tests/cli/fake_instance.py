"""A tiny HTTP server that speaks the API's shapes, for what a real instance will not do on demand: faults."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "rvt_a-token-of-these-tests"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    token: str | None
    body: Any


@dataclass(slots=True)
class Reply:
    """What to answer: JSON, text, or pieces of an event stream that then `breaks` off or ends in order."""

    json: Any = None
    status: int = 200
    text: str | None = None
    events: list[str] | None = None
    breaks: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class FakeInstance:
    """Answers come from `replies`: by "METHOD TARGET", each list given out one by one, its last for ever."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.asked: list[Asked] = []
        self.url = ""

    def on(self, request: str, *replies: Reply) -> None:
        self.replies[request] = list(replies)

    def reply_to(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        replies = self.replies.get(f"{asked.method} {asked.target}")
        if not replies:
            return refusal(404, "not_found", f"Nothing is scripted for {asked.method} {asked.target}.")
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def targets(self) -> list[str]:
        return [f"{asked.method} {asked.target}" for asked in self.asked]


def refusal(status: int, code: str, message: str, **fields: str) -> Reply:
    error = {"code": code, "message": message}
    return Reply({"error": {**error, "fields": fields} if fields else error}, status)


def items(*rows: dict[str, Any], next: str | None = None) -> Reply:
    return Reply({"items": list(rows), "next": next})


def events(*messages: dict[str, Any] | None, breaks: bool = False) -> Reply:
    """An event stream of these messages; None is the sign of life."""
    pieces = [": alive\n\n" if message is None else f"data: {json.dumps(message)}\n\n" for message in messages]
    return Reply(events=pieces, breaks=breaks)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    instance: FakeInstance

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        header = self.headers.get("Authorization")
        token = header.removeprefix("Bearer ") if header else None
        reply = self.instance.reply_to(Asked(self.command, self.path, token, json.loads(content) if content else None))
        self.close_connection = True
        if reply.events is not None:
            self._stream(reply)
            return
        text = reply.text if reply.text is not None else json.dumps(reply.json)
        self._head(reply, "text/plain" if reply.text is not None else "application/json", str(len(text.encode())))
        if reply.status != 204:
            self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the names that http.server looks for

    def _head(self, reply: Reply, kind: str, length: str | None) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", kind)
        if reply.status != 204:
            self.send_header(*(("Content-Length", length) if length else ("Transfer-Encoding", "chunked")))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, reply: Reply) -> None:
        self._head(reply, "text/event-stream", None)
        for piece in reply.events or []:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece.encode()), piece.encode()))
        if not reply.breaks:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[FakeInstance]:
    instance = FakeInstance()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"instance": instance}))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    instance.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    try:
        yield instance
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
