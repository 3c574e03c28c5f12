"""What comes on a connection before its first request, in a watcher of its own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.client import Client

log = logging.getLogger("proxy")

READ, WRITE = 1, 2


class Greeting:
    """Something to be exchanged first; `go_on` is called when the socket is ready, and `stop` ends the watching."""

    __slots__ = ("_watcher", "client")

    def __init__(self, client: Client, seconds: float) -> None:
        self.client = client
        self._watcher: Any = None
        client.greeting = self
        client.due_in(seconds)
        self.wait(READ)

    def wait(self, events: int) -> None:
        """Go on when the socket can be read or written."""
        if self._watcher is not None and self._watcher.events == events:
            return
        self._unwatch()
        self._watcher = self.client.service.loop.io(self.client.sock.fileno(), events)
        self._watcher.start(self._on_event)

    def _on_event(self) -> None:
        try:
            self.go_on()
        except Exception:
            log.exception("A connection's beginning failed")
            self.client.close()

    def go_on(self) -> None:
        """Do what can be done now."""
        raise NotImplementedError

    def stop(self) -> None:
        """It is over, well or not."""
        self.client.greeting = None
        self._unwatch()

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
