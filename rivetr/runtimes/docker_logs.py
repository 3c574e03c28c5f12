"""A container's log as lines, from Docker's multiplexed stream (Engine API 1.41, ContainerAttach)."""

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import requests
import urllib3

from rivetr.errors import RuntimeFailed
from rivetr.runtimes.base import LogLine

MAX_LINE = 16 * 1024
_HEADER = struct.Struct(">BxxxL")
_STREAMS = {1: "stdout", 2: "stderr"}
# RFC 3339 with nanoseconds, which Python's parser does not take.
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z (.*)", re.DOTALL)


class DockerLogStream:
    """Iterate for lines; `close` from anywhere ends the iteration."""

    def __init__(self, api: Any, id: str, lines: int | None, since: datetime | None, follow: bool) -> None:
        parameters = {
            "stdout": 1,
            "stderr": 1,
            "timestamps": 1,
            "follow": int(follow),
            "tail": "all" if lines is None else str(lines),
            "since": f"{since.timestamp():.6f}" if since else "0",
        }
        timeout = None if follow else api.timeout
        url = api._url("/containers/{0}/logs", id)
        self._response = api._get(url, params=parameters, stream=True, timeout=timeout)
        api._raise_for_status(self._response)
        self._is_closed = False

    def __iter__(self) -> Iterator[LogLine]:
        rest = {"stdout": b"", "stderr": b""}
        try:
            for stream, payload in self._frames():
                *lines, rest[stream] = (rest[stream] + payload).split(b"\n")
                for line in lines:
                    yield _parse(stream, line)
                if len(rest[stream]) > MAX_LINE:
                    yield _parse(stream, rest[stream])
                    rest[stream] = b""
        except (OSError, urllib3.exceptions.HTTPError, requests.exceptions.RequestException, ValueError):
            if not self._is_closed:
                raise RuntimeFailed("The container's log broke off: is the container engine still up?") from None
        finally:
            self.close()
        for stream, line in rest.items():
            if line:
                yield _parse(stream, line)

    def _frames(self) -> Iterator[tuple[str, bytes]]:
        while header := self._read(_HEADER.size):
            kind, size = _HEADER.unpack(header)
            yield _STREAMS.get(kind, "stdout"), self._read(size)

    def _read(self, size: int) -> bytes:
        """Exactly `size` bytes, or nothing at the end of the stream."""
        gathered = b""
        while len(gathered) < size:
            chunk = self._response.raw.read(size - len(gathered))
            if not chunk:
                return b""
            gathered += chunk
        return gathered

    def close(self) -> None:
        """End the stream, also one that another thread waits on."""
        self._is_closed = True
        connection = getattr(self._response.raw, "_connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._response.close()


def _parse(stream: str, raw: bytes) -> LogLine:
    text = raw.decode("utf-8", "replace").rstrip("\r")
    match = _TIME.match(text)
    if not match:
        return LogLine(datetime.now(UTC), stream, text[:MAX_LINE])
    moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC, microsecond=int((match[2] or "0").ljust(6, "0")[:6]))
    return LogLine(moment, stream, match[3][:MAX_LINE])
