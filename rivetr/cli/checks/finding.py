"""What one look at the machine found."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`level` of the thing `name`: a sentence that says what is so, and one that says how to `mend` it."""

    name: str
    level: Level
    message: str
    mend: str = ""


def ok(name: str, message: str) -> Finding:
    """All is well with `name`."""
    return Finding(name, "ok", message)


def warning(name: str, message: str, mend: str) -> Finding:
    """Rivetr works, but not all of it or not for long."""
    return Finding(name, "warning", message, mend)


def problem(name: str, message: str, mend: str) -> Finding:
    """Rivetr cannot work like this."""
    return Finding(name, "problem", message, mend)
