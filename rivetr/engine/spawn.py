"""The worker's side of slow work: one child process a job, so that its memory returns when it ends.

A child that dies without finishing is followed by a reconciling one, which ends what it left.
"""

import logging

from rivetr.forkserver import ForkServer, Gone

log = logging.getLogger(__name__)

_server = ForkServer("rivetr.child")
_stopping = False


def run(job: str, id: str) -> None:
    """Run one job to its end; when its process dies of itself, reconcile."""
    status = _run_child(job, id)
    if status != 0 and job != "reconcile" and not _stopping:
        log.error("The process for %s %s ended with status %s; reconciling.", job, id, status)
        _run_child("reconcile", id)


def _run_child(job: str, id: str) -> int:
    if _stopping:
        return 0
    try:
        return _server.run(job, id)
    except Gone:
        # Its children die with it.
        return 1


def stop_all(patience_seconds: float) -> None:
    """Ask every child to end (it cleans up after itself), and kill those that take too long."""
    global _stopping  # noqa: PLW0603 - the worker stops once
    _stopping = True
    _server.end_all(patience_seconds)
