"""One line a request, gathered in memory and written a few times a second at most."""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.client import Client
    from proxy.exchange import Exchange
    from proxy.head import RequestHead

log = logging.getLogger("proxy")

_MOST_GATHERED = 1000
STDOUT = "-"


class AccessLog:
    """Writes JSON lines or the combined format to `path` (`-`: standard output).

    A file that has grown to `most_bytes` is renamed to `PATH.1`, the one before to `PATH.2`, and `keep` of them stay.
    A disk that is full costs lines, never requests.
    """

    def __init__(self, path: str, is_json: bool, most_bytes: int, keep: int) -> None:
        self._path = path
        self._is_json = is_json
        self._most_bytes = most_bytes
        self._keep = keep
        self._lines: list[str] = []
        self._second = 0
        self._stamp = ""
        self._size = 0
        self._descriptor = -1
        self._complained = False
        self._is_cut = False
        self._stdout = select.poll()
        self._open()

    def reopen(self) -> None:
        """Open the file anew, after somebody has moved it away; go on with the old one when that cannot be."""
        self.flush()
        try:
            self._open()
        except OSError as error:
            log.error("The access log %s cannot be opened anew (%s); going on as before.", self._path, error.strerror)

    def _open(self) -> None:
        if self._path == STDOUT:
            self._descriptor = sys.stdout.fileno()
            self._stdout.register(self._descriptor, select.POLLOUT)
            return
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def write(
        self, client: Client, request: RequestHead, status: int, seconds: float, exchange: Exchange | None
    ) -> None:
        """Remember a request's line."""
        backend = exchange.backend.address if exchange is not None and exchange.backend is not None else ""
        if self._is_json:
            line = self._json(client, request, status, seconds, backend)
        else:
            line = self._combined(client, request, status)
        self._lines.append(line)
        if len(self._lines) >= _MOST_GATHERED:
            self.flush()

    def _json(self, client: Client, request: RequestHead, status: int, seconds: float, backend: str) -> str:
        # A head holds no control bytes, and the target no quotes' worth of trouble but these two.
        target = request.target.decode("ascii").replace("\\", "\\\\").replace('"', '\\"')
        return (
            f'{{"time":"{self._now(_ISO)}","client":"{client.peer}","method":"{request.method.decode("ascii")}",'
            f'"host":"{request.host.decode("ascii")}","target":"{target}","status":{status},"bytes":{client.bytes_out},'
            f'"seconds":{seconds:.6f},"backend":"{backend}"}}\n'
        )

    def _combined(self, client: Client, request: RequestHead, status: int) -> str:
        told = {name.lower(): value for name, value in request.fields.block.fields if len(name) in (7, 10)}
        referrer, agent = (_quoted(told.get(name, b"-")) for name in (b"referer", b"user-agent"))
        line = f"{request.method.decode('ascii')} {request.target.decode('ascii')} HTTP/1.{int(not request.is_http_10)}"
        return (
            f"{client.peer} - - [{self._now(_COMMON)}] {_quoted(line.encode())} {status} {client.bytes_out} "
            f"{referrer} {agent}\n"
        )

    def _now(self, form: str) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._stamp = second, time.strftime(form, time.gmtime(second))
        return self._stamp

    def flush(self) -> None:
        """Write what has gathered."""
        if not self._lines:
            return
        content = "".join(self._lines).encode("utf-8", "replace")
        self._lines.clear()
        try:
            if self._size + len(content) > self._most_bytes and self._size and self._path != STDOUT:
                self._rotate()
            if self._is_cut:
                content = b"\n" + content
            written = self._write(content)
        except OSError as error:
            self._complain(error.strerror)
            return
        self._size += written
        if written:
            # A part of a line must not spoil the next one.
            self._is_cut = not content.endswith(b"\n", 0, written)
        if written == len(content):
            self._complained = False
        else:
            self._complain("it takes no more")

    def _write(self, content: bytes) -> int:
        """How much of it could be written without waiting. Raises `OSError`."""
        if self._path != STDOUT:
            return os.write(self._descriptor, content)
        written = 0
        # A pipe that may be written takes so much; beyond that we would wait for its reader, and all clients with us.
        while written < len(content) and self._stdout.poll(0):
            written += os.write(self._descriptor, content[written : written + select.PIPE_BUF])
        return written

    def _complain(self, why: str | None) -> None:
        # Once, not with each line.
        if not self._complained:
            log.error("The access log %s cannot be written (%s); serving on.", self._path, why)
        self._complained = True

    def _rotate(self) -> None:
        path = Path(self._path)
        for number in range(self._keep, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            newer = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
            if newer.exists():
                newer.replace(older)
        if not self._keep:
            path.unlink(missing_ok=True)
        # Where this fails the old file goes on, and is not put aside again at once.
        self._size = 0
        self._open()


_ISO, _COMMON = "%Y-%m-%dT%H:%M:%SZ", "%d/%b/%Y:%H:%M:%S +0000"


def _quoted(text: bytes) -> str:
    return json.dumps(text.decode("latin-1"))
