"""What a process and all that it started have used: processor time and memory, as the kernel counts them."""

import re
import time
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that any thread of `pid` started."""
    listed = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for file in listed for child in file.read_text().split()]


def family(pid: int) -> list[int]:
    """`pid`, and every process below it."""
    return [pid, *(member for child in children(pid) for member in family(child))]


def cpu_seconds(pid: int) -> float:
    """User and system time of the whole family so far, in nanosecond steps.

    /proc/PID/stat counts in steps of 10 ms; this is the clock that clock_getcpuclockid(3) names.
    """
    return sum(time.clock_gettime(~member << 3 | 2) for member in family(pid))


def pss_kib(pid: int) -> int:
    """Proportional set size of one process: a page that n processes share counts as 1/n of a page."""
    return _rollup(pid, "Pss")


def family_pss_kib(pid: int) -> int:
    """Proportional set size of the whole family."""
    return sum(pss_kib(member) for member in family(pid))


def family_own_kib(pid: int) -> int:
    """Memory of the family that no file backs: unlike PSS it stays when others start or end the same program."""
    return sum(_rollup(member, "Pss_Anon") + _rollup(member, "Pss_Shmem") for member in family(pid))


def family_rss_kib(pid: int) -> int:
    """Resident set sizes added up: what PSS would be at most if nobody else ran the same program."""
    return sum(_rollup(member, "Rss") for member in family(pid))


def _rollup(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1))
