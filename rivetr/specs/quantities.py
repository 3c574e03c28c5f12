"""Amounts as people write them: `512m` of memory, `0.5` of a CPU."""

import re

_MEMORY = re.compile(r"(\d{1,15})\s*(b|k|kb|m|mb|g|gb)?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_CPUS = re.compile(r"\d{1,3}(\.\d{1,3})?")

# Engines refuse less than 6 MB (Docker Engine API 1.41, HostConfig.Memory).
MIN_MEMORY = 6 * 2**20
MAX_MEMORY = 2**40


def memory_bytes(text: str) -> int:
    """`512m`, `256mb`, `1g` in bytes. Raises `ValueError` with a sentence."""
    amount = byte_count(text)
    if not MIN_MEMORY <= amount <= MAX_MEMORY:
        raise ValueError("must be at least 6m and at most 1024g")
    return amount


def byte_count(text: str) -> int:
    """`10m`, `512k`, `1048576` in bytes. Raises `ValueError` with a sentence."""
    match = _MEMORY.fullmatch(text.strip())
    if not match:
        raise ValueError("must be an amount such as 512m or 1g")
    return int(match[1]) * _UNITS[(match[2] or "").lower()[:1]]


def shortest(count: int) -> str:
    """A number of bytes in the largest unit that says it exactly; `byte_count` reads it."""
    unit = next(unit for unit in ("g", "m", "k", "") if count % _UNITS[unit] == 0)
    return f"{count // _UNITS[unit]}{unit}" if count else "0"


def cpus(text: str) -> float:
    """`0.5` as a number of CPUs. Raises `ValueError` with a sentence."""
    if not _CPUS.fullmatch(text.strip()):
        raise ValueError("must be a number of CPUs such as 0.5 or 2")
    amount = float(text)
    if not 0.01 <= amount <= 256:
        raise ValueError("must be at least 0.01 and at most 256")
    return amount
