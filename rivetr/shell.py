"""The only place that starts processes: argument vectors, never a shell, always a bound on time."""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_PIECE = 64 * 1024

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


def stream(
    argv: Sequence[str],
    take: Callable[[bytes], None],
    supply: Iterable[bytes] = (),
    env: Mapping[str, str] | None = None,
) -> int:
    """Run `argv`, feed it `supply`, give `take` each piece it prints (both streams) at once, and return its status.

    How long it may take is the caller's affair: whatever is raised meanwhile, by `take`, by `supply` or by
    a signal's handler, kills the whole process group and goes on its way.
    """
    with start(argv, env=env, is_fed=True) as process:
        try:
            _converse(process, take, supply)
            return process.wait()
        except BaseException:
            end_group(process.pid, signal.SIGKILL)
            raise


def start(
    argv: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None, is_fed: bool = False
) -> Process:
    """Start `argv` in a session (and so a process group) of its own; both its streams go to one pipe.

    Its input is a pipe when it `is_fed`, and nothing otherwise.
    """
    return subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=dict(env) if env is not None else None,
        stdin=subprocess.PIPE if is_fed else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # What is fed and read piece by piece must not linger in a buffer of ours.
        bufsize=0 if is_fed else -1,
    )


def start_beside(argv: Sequence[str], descriptors: Sequence[int]) -> Process:
    """Start `argv` with our own output streams; of our files it inherits `descriptors` alone."""
    return subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, pass_fds=list(descriptors))


def _converse(process: Process, take: Callable[[bytes], None], supply: Iterable[bytes]) -> None:
    """Feed and listen at the same time until the process closes its output."""
    assert process.stdin and process.stdout  # noqa: S101 - `start` made them pipes
    feed = _Feed(process.stdin.fileno(), supply)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while True:
            for key, _ in selector.select():
                if key.fileobj is process.stdout:
                    piece = os.read(key.fd, _PIECE)
                    if not piece:
                        return
                    take(piece)
                elif not feed.push():
                    selector.unregister(process.stdin)
                    process.stdin.close()


class _Feed:
    """What is still to be written to a process."""

    def __init__(self, fd: int, supply: Iterable[bytes]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._supply = filter(None, supply)
        self._left = memoryview(b"")

    def push(self) -> bool:
        """Write what the pipe takes now; False once all is written, or nobody reads any more."""
        if not self._left:
            self._left = memoryview(next(self._supply, b""))
        if not self._left:
            return False
        try:
            self._left = self._left[os.write(self._fd, self._left) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            # It ends early, and says why on its output.
            return False
        return True


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
