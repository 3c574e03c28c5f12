"""The worker's side of slow work: one child process a job, so that its memory returns when it ends.

The child is `python -m rivetr.child JOB ID`. A child that dies without finishing is followed
by a reconciling one, which ends what it left.
"""

import logging
import os
import signal
import threading
import time

from rivetr import shell

log = logging.getLogger(__name__)

_running: dict[int, shell.Process] = {}
_lock = threading.Lock()
_stopping = False


def run(job: str, id: str) -> None:
    """Run one job to its end; when its process dies of itself, reconcile."""
    status = _run_child(job, id)
    if status != 0 and job != "reconcile" and not _stopping:
        log.error("The process for %s %s ended with status %s; reconciling.", job, id, status)
        _run_child("reconcile", id)


def _run_child(job: str, id: str) -> int:
    with _lock:
        if _stopping:
            return 0
        process = shell.start(shell.python("rivetr.child", job, id, str(os.getpid())))
        _running[process.pid] = process
    try:
        output, _ = process.communicate()
    finally:
        with _lock:
            _running.pop(process.pid, None)
    if output.strip():
        log.warning("%s %s: %s", job, id, output.decode("utf-8", "replace").strip())
    return process.returncode


def stop_all(patience_seconds: float) -> None:
    """Ask every child to end (it cleans up after itself), and kill those that take too long."""
    global _stopping  # noqa: PLW0603 - the worker stops once
    with _lock:
        _stopping = True
        children = list(_running.values())
    for child in children:
        shell.end_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_seconds
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except shell.TimedOut:
            shell.end_group(child.pid, signal.SIGKILL)
