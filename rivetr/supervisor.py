"""The parent of our processes: forks each one, starts it again when it dies, ends them all together.

SIGHUP replaces those that can be: a new one is started, and when it has stood for a moment the old one gets SIGQUIT,
upon which it drains and ends. What both need to share (listening sockets) the parent holds open.

It stays light, because its children share its memory until they load more (docs/decisions/0004).
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rivetr.shell import end_with_parent, set_name

log = logging.getLogger("rivetr.supervisor")

STOP_SECONDS = 9.0
# How long a successor must live until its predecessor may go.
_PROVED_SECONDS = 1.0
_SIGNALS = frozenset((signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
# A child that dies at once is started again ever later, one that lived a while at once.
_FIRST_PAUSE, _LONGEST_PAUSE, _STABLE_SECONDS = 0.05, 10.0, 10.0


@dataclass(slots=True)
class Child:
    """One process to keep running: `main` is its whole life and never returns to us."""

    name: str
    main: Callable[[], None]
    is_replaceable: bool = False
    pid: int = 0
    started: float = 0.0
    pause: float = field(default=_FIRST_PAUSE)
    due: float = 0.0


class Supervisor:
    """Keeps children running until SIGINT or SIGTERM."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = list(children)
        self._stopping = False
        # Old processes by id, and their successors while those have not proved themselves.
        self._retiring: dict[int, Child | None] = {}

    def run(self) -> None:
        """Start all and look after them; returns when all have ended after a signal."""
        set_name("rivetr-up")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        # Waited for with a time limit instead of being handled, so a death is seen at once.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        while not self._stopping:
            self._start_due()
            self._retire_due()
            received = signal.sigtimedwait(_SIGNALS, self._wait_seconds())
            if received is not None and received.si_signo == signal.SIGHUP:
                self._replace()
            elif received is not None and received.si_signo != signal.SIGCHLD:
                self._stopping = True
            self._reap()
        self._end_all()

    def _replace(self) -> None:
        for child in self._children:
            if child.is_replaceable and child.pid and child not in self._retiring.values():
                self._retiring[child.pid] = child
                child.pid, child.due = 0, 0.0

    def _retire_due(self) -> None:
        """A successor that has stood for a moment serves: its predecessor may go."""
        for pid, successor in self._retiring.items():
            if successor is not None and successor.pid and time.monotonic() - successor.started >= _PROVED_SECONDS:
                self._retiring[pid] = None
                os.kill(pid, signal.SIGQUIT)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _wait_seconds(self) -> float:
        due = [child.due for child in self._children if not child.pid]
        due += [child.started + _PROVED_SECONDS for child in self._retiring.values() if child is not None and child.pid]
        return max(0.0, min([*due, time.monotonic() + 60]) - time.monotonic())

    def _start_due(self) -> None:
        for child in self._children:
            if not child.pid and child.due <= time.monotonic():
                _start(child)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._retiring.pop(pid, None)
            for child in self._children:
                if child.pid == pid:
                    self._note_death(child, status)

    def _note_death(self, child: Child, status: int) -> None:
        child.pid = 0
        if self._stopping:
            return
        lived = time.monotonic() - child.started
        child.pause = _FIRST_PAUSE if lived > _STABLE_SECONDS else min(child.pause * 2, _LONGEST_PAUSE)
        child.due = time.monotonic() + child.pause
        code = os.waitstatus_to_exitcode(status)
        log.warning("%s ended (%s) and is started again in %.1f s.", child.name, _reason(code), child.pause)

    def _end_all(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        self._send(signal.SIGTERM)
        while self._alive():
            left = deadline - time.monotonic()
            if left <= 0:
                self._send(signal.SIGKILL)
                deadline = time.monotonic() + 1
            signal.sigtimedwait({signal.SIGCHLD}, max(0.05, left))
            self._reap()

    def _alive(self) -> list[int]:
        return [*self._retiring, *(child.pid for child in self._children if child.pid)]

    def _send(self, number: signal.Signals) -> None:
        for pid in self._alive():
            os.kill(pid, number)


def _reason(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with status {code}"


def _start(child: Child) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        child.pid, child.started = pid, time.monotonic()
        return
    status = 1
    try:
        _become_child(child.name, parent)
        child.main()
        status = 0
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else 1
        if isinstance(exit.code, str):
            print(exit.code, file=sys.stderr)
    except BaseException:
        log.exception("%s failed", child.name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _become_child(name: str, parent: int) -> None:
    set_name(f"rivetr-{name}")

    # Ctrl-C reaches the whole foreground group; ending in order is the parent's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    end_with_parent(parent)
