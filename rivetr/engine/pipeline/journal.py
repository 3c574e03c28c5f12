"""The log of a running deployment, written to the database as it comes but in few transactions.

A thread writes what has gathered every tenth of a second and looks whether somebody asked to
cancel; the pipeline's thread only appends. A cancel becomes SIGTERM to this process, whose handler
raises `Cancelled` in the pipeline, whatever it waits for.
"""

import os
import signal
import threading
from datetime import datetime

from sqlalchemy import insert, select

from rivetr.db import now, release, session, transaction
from rivetr.errors import Cancelled, RivetrError
from rivetr.models import Deployment, LogEntry
from rivetr.plaintext import plain

_FLUSH_SECONDS = 0.1
_CANCEL_LOOK_SECONDS = 0.5
_CANCELLED = "The deployment was cancelled; the version before it goes on serving."
MAX_LINE = 8 * 1024
MAX_LINES = 20_000


class Journal:
    """Gathers lines of one deployment; `stage` names where they belong."""

    def __init__(self, deployment_id: str) -> None:
        self.deployment_id = deployment_id
        self.stage = "validate"
        self._lines: list[tuple[datetime, str, str]] = []
        self._count = 0
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._done = threading.Event()
        self._cancelled = False
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)

    def __enter__(self) -> "Journal":
        signal.signal(signal.SIGTERM, self._on_term)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shield()
        self._done.set()
        self._thread.join()
        self.flush()

    def line(self, text: str) -> None:
        """Append what a stage says, one entry a line; past the limits it is cut, with a word about it."""
        for part in text.split("\n"):
            self._append(plain(part))

    def _append(self, line: str) -> None:
        with self._lock:
            self._count += 1
            if self._count > MAX_LINES:
                return
            if self._count == MAX_LINES:
                line = f"(The log is cut here, after {MAX_LINES} lines.)"
            elif len(line) > MAX_LINE:
                line = f"{line[:MAX_LINE]} (cut, {len(line)} characters)"
            self._lines.append((now(), self.stage, line))

    def flush(self) -> None:
        """Write what has gathered."""
        # Two locks: lines keep coming while a batch is written, and batches keep their order.
        with self._write_lock:
            with self._lock:
                batch, self._lines = self._lines, []
            if not batch:
                return
            rows = [
                {"deployment_id": self.deployment_id, "time": time, "stage": stage, "line": line}
                for time, stage, line in batch
            ]
            with transaction() as current:
                current.execute(insert(LogEntry), rows)

    def check_cancelled(self) -> None:
        """Raise `Cancelled` when somebody asked for it."""
        if self._cancelled or _is_cancel_requested(self.deployment_id):
            raise Cancelled(_CANCELLED)

    def shield(self) -> None:
        """From here on neither cancel nor shutdown breaks the pipeline off: the switch has been made."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _on_term(self, *_: object) -> None:
        # Once: the clean-up that follows must not be broken off by a second signal.
        self.shield()
        if self._cancelled:
            raise Cancelled(_CANCELLED)
        raise Interrupted("Rivetr was stopped while this deployment ran: deploy again when it is back.")

    def _work(self) -> None:
        looks = 0
        while not self._done.wait(_FLUSH_SECONDS):
            self.flush()
            looks += 1
            if looks * _FLUSH_SECONDS >= _CANCEL_LOOK_SECONDS and not self._cancelled:
                looks = 0
                if _is_cancel_requested(self.deployment_id):
                    self._cancelled = True
                    os.kill(os.getpid(), signal.SIGTERM)
        release()


class Interrupted(RivetrError):
    """Our own process was asked to end; the deployment counts as failed, not as cancelled."""


def _is_cancel_requested(deployment_id: str) -> bool:
    current = session()
    requested = current.scalar(select(Deployment.cancel_requested).where(Deployment.id == deployment_id))
    current.commit()
    return bool(requested)
