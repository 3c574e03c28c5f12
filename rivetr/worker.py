"""The worker process: takes tasks off the queue as they come, each handed to a child process."""

import fcntl
import logging
import os
import threading
import time
from pathlib import Path
from typing import IO

from rivetr import bootstrap, config, queue, tasks  # noqa: F401 - Huey knows the tasks once they are imported
from rivetr.engine import spawn
from rivetr.errors import Misconfigured
from rivetr.runtimes import detect

# How many tasks wait for their child at once; builds have a limit of their own (build.concurrency).
TASKS_AT_ONCE = 4
_CHILD_PATIENCE_SECONDS = 6.0
_ENGINE_LOOK_SECONDS = 10.0


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    settings = config.load()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=settings.logging.level.upper())
    logging.getLogger("huey").setLevel(logging.WARNING)
    bootstrap.start(settings, with_database=False)
    lock = _hold(settings.locks / "worker.lock")
    queue.huey.storage.listen()
    # What the last worker left is settled beside the first tasks: a deployment waits for no one.
    threading.Thread(target=_reconcile_now_and_when_an_engine_appears, args=(settings,), daemon=True).start()
    consumer = queue.huey.create_consumer(
        workers=TASKS_AT_ONCE, periodic=False, check_worker_health=False, scheduler_interval=60
    )
    try:
        consumer.run()
    finally:
        spawn.stop_all(_CHILD_PATIENCE_SECONDS)
        lock.close()


def _reconcile_now_and_when_an_engine_appears(settings: config.Settings) -> None:
    """An engine that was away may have ended containers, or given them other addresses."""
    seen = detect.sighting(settings.runtime)
    spawn.run("reconcile", "start")
    while True:
        time.sleep(_ENGINE_LOOK_SECONDS)
        now = detect.sighting(settings.runtime)
        if now is not None and now != seen:
            spawn.run("reconcile", "engine")
        seen = now


def _hold(path: Path) -> IO[str]:
    """Hold the lock that says a worker is alive. Raises `Misconfigured` when another one does."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Misconfigured(f"Another worker runs with the data folder {path.parent.parent} already.") from None
    file.write(str(os.getpid()))
    file.flush()
    return file
