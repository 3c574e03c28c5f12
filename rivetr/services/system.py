"""What the instance says of itself: what is up, versions, disk, queue, processes."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import text

import rivetr
from rivetr import config, queue
from rivetr.actor import Actor
from rivetr.db import session
from rivetr.engine import routing
from rivetr.runtimes import detect
from rivetr.services import deployments


def health() -> dict[str, Any]:
    """What is up; `status` is `ok` only when all of it is."""
    settings = config.current()
    engine = detect.ping(settings.runtime)
    parts = {
        "web": "ok",
        "worker": "ok" if worker_is_alive() else "down",
        "proxy": "ok" if routing.live_proxies() else "down",
        "runtime": engine or "down",
    }
    status = "degraded" if "down" in parts.values() else "ok"
    return {"status": status, "version": rivetr.__version__, **parts}


def worker_is_alive() -> bool:
    """Whether a worker holds its lock file."""
    try:
        with (config.current().locks / "worker.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def overview(actor: Actor) -> dict[str, Any]:
    """Versions, disk, queue and processes. Raises `Forbidden`."""
    actor.require("read")
    settings = config.current()
    disk = shutil.disk_usage(settings.data_dir)
    return {
        "version": rivetr.__version__,
        "runtime": {"type": detect.ping(settings.runtime), "configured": settings.runtime.type},
        "disk": {"total_bytes": disk.total, "used_bytes": disk.used, "free_bytes": disk.free},
        "database": {"bytes": _size(settings.database), "integrity": session().scalar(text("PRAGMA quick_check(1)"))},
        "queue_depth": queue.depth(),
        "unfinished_deployments": deployments.unfinished_count(),
        "processes": _processes(),
    }


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _processes() -> list[dict[str, Any]]:
    """Our processes by name, each with its proportional share of memory (proc(5), smaps_rollup)."""
    named = [("web", os.getpid()), ("worker", _worker_pid())]
    named += [("proxy", worker.pid) for worker in routing.live_proxies()]
    # Web and worker have one parent when `rivetr up` is it.
    if os.getppid() == _parent_of(_worker_pid()):
        named.insert(0, ("up", os.getppid()))
    return [{"name": name, "pid": pid, "memory_bytes": _pss(pid)} for name, pid in named if pid]


def _worker_pid() -> int:
    if not worker_is_alive():
        return 0
    text = (config.current().locks / "worker.lock").read_text()
    return int(text) if text.isdigit() else 0


def _parent_of(pid: int) -> int:
    try:
        # The name, in brackets, may itself hold spaces and brackets.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
