"""The only place that starts processes: argument vectors, never a shell, always a bound on time."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15

# So that nobody else needs to know the module behind these.
Process = subprocess.Popen[bytes]
TimedOut = subprocess.TimeoutExpired


@dataclass(frozen=True, slots=True)
class Completed:
    """How a process ended; a negative `status` is the signal that ended it."""

    status: int
    output: str


def run(
    argv: Sequence[str],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Completed:
    """Run `argv` in a session of its own and gather what it prints (both streams).

    `env` replaces the environment. After `timeout` seconds the whole process group is killed and
    `TimedOut` raised.
    """
    process = start(argv, cwd, env)
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException:
        end_group(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return Completed(process.returncode, output.decode("utf-8", "replace"))


def start(argv: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Process:
    """Start `argv` in a session (and so a process group) of its own; both its streams go to one pipe."""
    return subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=dict(env) if env is not None else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def start_beside(argv: Sequence[str], descriptors: Sequence[int]) -> Process:
    """Start `argv` with our own output streams; of our files it inherits `descriptors` alone."""
    return subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, pass_fds=list(descriptors))


def set_name(name: str) -> None:
    """Be called `name` (15 characters at most) in `ps` and `top`; see prctl(2)."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def end_with_parent(parent: int) -> None:
    """Ask the kernel to send us SIGTERM when the process (thread) that started us dies; see prctl(2).

    `parent` is the process id that we were told at start: when it is gone already, we end at once.
    """
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def end_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to the whole process group that `pid` leads, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def python(module: str, *arguments: str) -> list[str]:
    """The argument vector that runs one of our modules as this process runs: same interpreter, same -O."""
    optimize = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    return [sys.executable, *optimize, "-m", module, *arguments]
