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
        "proxy": "ok" if routing.live_workers() else "down",
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
    """The process group's members by name with their proportional memory (proc(5), smaps_rollup)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _instance_of(folder) == str(config.current().data_dir):
            found.append({"pid": int(folder.name), "name": _title(folder), "memory_bytes": _pss(folder)})
    return sorted(found, key=lambda process: process["pid"])


def _instance_of(folder: Path) -> str | None:
    prefix = b"RIVETR_SERVER__DATA_DIR="
    try:
        for entry in (folder / "environ").read_bytes().split(b"\0"):
            if entry.startswith(prefix):
                return os.path.abspath(entry.removeprefix(prefix).decode("utf-8", "replace"))
    except OSError:
        return None
    return None


def _title(folder: Path) -> str:
    try:
        return (folder / "comm").read_text().strip()
    except OSError:
        return "ended"


def _pss(folder: Path) -> int:
    try:
        for line in (folder / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
