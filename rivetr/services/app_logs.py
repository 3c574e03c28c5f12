"""What an app's running containers write."""

from collections.abc import Iterator
from datetime import datetime
from queue import Empty, Full, Queue
from threading import Event, Thread

from rivetr import config
from rivetr.actor import Actor
from rivetr.db import release
from rivetr.errors import Conflict, Invalid, RivetrError
from rivetr.models import App
from rivetr.runtimes.base import LogLine, LogStream, Runtime
from rivetr.runtimes.detect import current
from rivetr.services import access
from rivetr.services.app_stats import serving_containers
from rivetr.services.log_streams import HEARTBEAT_SECONDS

_QUEUE_LINES = 1000
_LAST_LINES = 100


def read(actor: Actor, id_or_name: str, lines: int, since: str | None) -> list[LogLine]:
    """The last lines of each running container, oldest first. Raises `Conflict` when none runs."""
    ids = _containers(access.app_for(actor, id_or_name, "read"))
    after = _moment(since)
    release()
    runtime = current(config.current().runtime)
    entries = [entry for id in ids for entry in runtime.logs(id, lines=lines, since=after)]
    return sorted(entries, key=lambda entry: entry.time)[-lines:]


def _moment(since: str | None) -> datetime | None:
    if not since:
        return None
    try:
        moment = datetime.fromisoformat(since)
        if moment.tzinfo is None:
            raise ValueError
    except ValueError:
        raise Invalid({"since": "must be a time with its zone, such as 2030-01-31T12:00:00Z"}) from None
    return moment


def _containers(app: App) -> list[str]:
    ids = serving_containers(app)
    if not ids:
        raise Conflict(f"{app.name} does not run, so it writes no log.")
    return ids


def follow(actor: Actor, id_or_name: str) -> Iterator[tuple[str, LogLine] | None]:
    """(container, line) as they come, None now and then, until the containers end or the reader closes us."""
    ids = _containers(access.app_for(actor, id_or_name, "read"))
    release()
    return _follow(current(config.current().runtime), ids)


def _follow(runtime: Runtime, ids: list[str]) -> Iterator[tuple[str, LogLine] | None]:
    # A quiet container would hide that the reader is gone: reading happens beside, behind a bounded queue.
    lines: Queue[tuple[str, LogLine] | None] = Queue(_QUEUE_LINES)
    stopped = Event()
    streams = [runtime.logs(id, lines=_LAST_LINES, follow=True) for id in ids]
    for id, stream in zip(ids, streams, strict=True):
        Thread(target=_pump, args=(id, stream, lines, stopped), daemon=True).start()
    ended = 0
    try:
        while ended < len(streams):
            try:
                entry = lines.get(timeout=HEARTBEAT_SECONDS)
            except Empty:
                yield None
                continue
            if entry is None:
                ended += 1
            else:
                yield entry
    finally:
        stopped.set()
        for stream in streams:
            stream.close()


def _pump(id: str, stream: LogStream, lines: "Queue[tuple[str, LogLine] | None]", stopped: Event) -> None:
    try:
        for entry in stream:
            if not _put(lines, (id, entry), stopped):
                return
    except (RivetrError, OSError):
        # The engine or the reader went away; either way this stream is over.
        pass
    finally:
        _put(lines, None, stopped)


def _put(lines: "Queue[tuple[str, LogLine] | None]", entry: tuple[str, LogLine] | None, stopped: Event) -> bool:
    while not stopped.is_set():
        try:
            lines.put(entry, timeout=1)
        except Full:
            continue
        return True
    return False
