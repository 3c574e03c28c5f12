"""What a container uses, from the engine's one-shot samples."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from docker import APIClient

from rivetr.runtimes.base import Stats

# Time between two samples when there is no earlier one to compare with.
_PAUSE_SECONDS = 0.1
# An older sample would average over what nobody asked about.
_STALE_SECONDS = 30.0
_REMEMBERED = 1000


class StatsReader:
    """Computes CPU use between one question and the next, so that asking again and again costs one call."""

    def __init__(self, client: APIClient) -> None:
        self._client = client
        self._before: dict[str, Mapping[str, Any]] = {}

    def read(self, id: str) -> Stats:
        """What the container uses now; all zero when it does not run."""
        now = self._sample(id)
        before = self._before.pop(id, None)
        if _runs(now) and not (before and _PAUSE_SECONDS <= _seconds(before, now) <= _STALE_SECONDS):
            time.sleep(_PAUSE_SECONDS)
            before, now = now, self._sample(id)
        if not _runs(now) or before is None:
            return Stats(0, 0, 0, 0, 0)
        if len(self._before) >= _REMEMBERED:
            self._before.clear()
        self._before[id] = now
        return _stats(before, now)

    def _sample(self, id: str) -> Mapping[str, Any]:
        sample: Mapping[str, Any] = self._client.stats(id, stream=False, one_shot=True)
        return sample


def _runs(sample: Mapping[str, Any]) -> bool:
    return bool(sample.get("memory_stats", {}).get("usage"))


def _stats(before: Mapping[str, Any], now: Mapping[str, Any]) -> Stats:
    memory = now["memory_stats"]
    detail = memory.get("stats") or {}
    # Pages of files that the kernel may drop at any time are not the container's need (cgroup v1, v2).
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    networks = (now.get("networks") or {}).values()
    seconds = _seconds(before, now)
    used = (_cpu(now) - _cpu(before)) / 1e9
    return Stats(
        cpu_percent=round(max(0.0, used / seconds * 100), 1) if seconds > 0 else 0.0,
        memory_bytes=max(0, memory["usage"] - cache),
        memory_limit_bytes=memory.get("limit", 0),
        network_rx_bytes=sum(network["rx_bytes"] for network in networks),
        network_tx_bytes=sum(network["tx_bytes"] for network in networks),
    )


def _cpu(sample: Mapping[str, Any]) -> int:
    nanoseconds: int = sample["cpu_stats"]["cpu_usage"]["total_usage"]
    return nanoseconds


def _seconds(before: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    return (_read_at(now) - _read_at(before)).total_seconds()


def _read_at(sample: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(sample["read"][:26].rstrip("Z"))
