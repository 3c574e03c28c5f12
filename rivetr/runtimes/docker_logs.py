"""A container's log as lines, from the engine's stream of framed pieces (Engine API, ContainerAttach)."""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse
from urllib.parse import quote, urlencode

from rivetr.errors import RuntimeFailed
from rivetr.runtimes.base import LogLine
from rivetr.runtimes.docker_errors import plain, translated, unavailable
from rivetr.runtimes.lines import LONGEST
from rivetr.runtimes.unix_http import Exchange, refusal

_STREAMS = {1: "stdout", 2: "stderr"}
_HEAD = struct.Struct(">BxxxL")
_HEAD_SECONDS = 60.0


def open_logs(socket: str, api_version: str, id: str, query: dict[str, str]) -> "DockerLogStream":
    """Ask for a container's log; `query` is that of the Engine API's `GET /containers/ID/logs`."""
    target = f"/v{api_version}/containers/{quote(id, safe='')}/logs?{urlencode(query)}"
    exchange = Exchange(socket, _HEAD_SECONDS)
    try:
        with translated(f"read the log of container {id[:12]}", socket):
            response = exchange.send("GET", target)
            if response.status >= 400:
                raise RuntimeFailed(f"The log of container {id[:12]} cannot be read: {plain(refusal(response))}.")
            exchange.endless()
    except BaseException:
        exchange.close()
        raise
    return DockerLogStream(exchange, response, socket)


def log_query(lines: int | None, since: datetime | None, follow: bool) -> dict[str, str]:
    """The parameters for `open_logs`; the engine gives lines from exactly `since` on."""
    query = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if follow else "0"}
    query["tail"] = "all" if lines is None else str(lines)
    if since is not None:
        query["since"] = f"{since.timestamp():.6f}"
    return query


class DockerLogStream:
    """The lines of a container's two outputs in the order they were written; iterate once."""

    def __init__(self, exchange: Exchange, response: HTTPResponse, socket: str) -> None:
        self._exchange = exchange
        self._response = response
        self._socket = socket
        self._started = False
        self._closed = False

    def __iter__(self) -> Iterator[LogLine]:
        self._started = True
        try:
            yield from _lines(self._frames())
        finally:
            self._exchange.close()

    def close(self) -> None:
        """End the stream; one that waits in another greenlet or thread ends at once."""
        self._closed = True
        if self._started:
            # The reader closes for itself: two greenlets must not hold the same buffered reader.
            self._exchange.interrupt()
        else:
            self._exchange.close()

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while not self._closed:
            try:
                head = self._response.read(_HEAD.size)
                if len(head) < _HEAD.size:
                    return
                kind, size = _HEAD.unpack(head)
                piece = self._response.read(size)
            except (OSError, HTTPException, ValueError) as error:
                if self._closed:
                    return
                raise unavailable("go on with a container's log", self._socket, error) from error
            yield kind, piece


def _lines(frames: Iterator[tuple[int, bytes]]) -> Iterator[LogLine]:
    # The engine cuts long lines into pieces, each with a time of its own; a line ends with "\n".
    pending: dict[int, tuple[datetime, bytes]] = {}
    for kind, frame in frames:
        stamp, _, piece = frame.partition(b" ")
        time, before = pending.pop(kind, (_time(stamp), b""))
        text = before + piece if len(before) <= LONGEST else before
        if piece.endswith(b"\n"):
            yield _line(kind, time, text)
        else:
            pending[kind] = time, text
    for kind, (time, text) in pending.items():
        yield _line(kind, time, text)


def _line(kind: int, time: datetime, text: bytes) -> LogLine:
    return LogLine(time, _STREAMS.get(kind, "stdout"), text.rstrip(b"\r\n")[:LONGEST].decode("utf-8", "replace"))


def _time(stamp: bytes) -> datetime:
    # Nanoseconds, always in UTC: more digits than a datetime holds.
    try:
        return datetime.fromisoformat(stamp[:26].decode("ascii").rstrip("Z")).replace(tzinfo=UTC)
    except ValueError:
        return datetime.now(UTC)
