"""A process that forks one child a job: importing what jobs need is paid for once, not by each job.

`ForkServer` is the worker's side. The server itself (`serve`, run by `rivetr.child`) is started with the first
job, lives while jobs come, and ends after a rest, so an idle instance pays nothing for it
(docs/decisions/0009-fork-server.md). The two talk over one socket: a request is a job's name and id and a pipe,
on which the server answers with the child's process id and, at its end, its exit status.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Iterator

from rivetr import shell

log = logging.getLogger("rivetr.forkserver")

# Long enough for somebody who tries things out; a job after a longer rest waits for a fresh start.
LINGER_SECONDS = 60.0
_LONGEST_REQUEST = 1024
_TRIES = 2


class Gone(Exception):
    """The server ended before the job did."""


class ForkServer:
    """The worker's side: starts `module` as the server when there is none; safe to share between threads."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: shell.Process | None = None
        self._requests: socket.socket | None = None
        # By the request's pipe: the child's process id, 0 until it is known.
        self._running: dict[int, int] = {}
        self._changed = threading.Condition()

    def run(self, job: str, id: str) -> int:
        """Run a job in a child of the server and wait for it; gives its exit status (negative: the signal).

        Raises `Gone` when the server died, and its children with it.
        """
        for _ in range(_TRIES):
            reading, writing = os.pipe()
            with open(reading, encoding="ascii") as answers, self._known(reading):
                try:
                    self._ask(f"{job}\0{id}", writing)
                finally:
                    os.close(writing)
                begun = answers.readline()
                if begun:
                    self._running[reading] = int(begun)
                    return self._end_of(answers.readline())
            # It had just ended its rest when we asked: the job has not begun, so a fresh one may have it.
        raise Gone

    @staticmethod
    def _end_of(answer: str) -> int:
        if not answer:
            raise Gone
        return int(answer)

    @contextlib.contextmanager
    def _known(self, request: int) -> Iterator[None]:
        with self._changed:
            self._running[request] = 0
        try:
            yield
        finally:
            with self._changed:
                del self._running[request]
                self._changed.notify_all()

    def _ask(self, request: str, answers: int) -> None:
        with self._changed:
            for _ in range(_TRIES):
                requests = self._requests or self._start()
                try:
                    socket.send_fds(requests, [request.encode()], [answers])
                    return
                except OSError:
                    self._forget()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = shell.python(self._module, str(theirs.fileno()), str(LINGER_SECONDS))
            self._process = shell.start_beside(argv, [theirs.fileno()])
        # It ends by itself after a rest, and nobody may ask for long: somebody must take note of it.
        threading.Thread(target=self._process.wait, name="jobs", daemon=True).start()
        self._requests = ours
        return ours

    def _forget(self) -> None:
        if self._requests is not None and self._process is not None:
            self._requests.close()
            self._process.wait()
        self._requests = self._process = None

    def end_all(self, patience_seconds: float) -> None:
        """Ask every child to end (it cleans up after itself), kill those that take longer, end the server."""
        with self._changed:
            for number, seconds in ((signal.SIGTERM, patience_seconds), (signal.SIGKILL, 1.0)):
                for pid in filter(None, self._running.values()):
                    shell.end_group(pid, number)
                if self._changed.wait_for(lambda: not self._running, seconds):
                    break
            self._forget()


def serve(requests: socket.socket, linger_seconds: float, work: Callable[[str, str], None]) -> None:
    """Be the server: fork `work(job, id)` for each request, until the worker is gone or none came for a while."""
    _Loop(requests, linger_seconds, work).run()


class _Loop:
    """Requests come in, children are forked, and their ends are told. One thread: it forks."""

    def __init__(self, requests: socket.socket, linger_seconds: float, work: Callable[[str, str], None]) -> None:
        self._requests = requests
        self._linger_seconds = linger_seconds
        self._work = work
        self._selector = selectors.DefaultSelector()
        self._children = 0

    def run(self) -> None:
        shell.set_name("rivetr-jobs")
        # The worker decides when children end; a signal to the whole group is not for us.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._selector.register(self._requests, selectors.EVENT_READ)
        while True:
            ready = self._selector.select(None if self._children else self._linger_seconds)
            if not ready and not self._children:
                return
            for key, _ in ready:
                if key.fileobj is not self._requests:
                    self._tell_end(key.fd, *key.data)
                elif not self._take():
                    return

    def _take(self) -> bool:
        request, descriptors, _, _ = socket.recv_fds(self._requests, _LONGEST_REQUEST, 1)
        if not request:
            return False
        job, _, id = request.decode().partition("\0")
        (answers,) = descriptors
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            self._become(job, id, parent, answers)
        watch = os.pidfd_open(pid)
        self._selector.register(watch, selectors.EVENT_READ, (pid, answers))
        self._children += 1
        _say(answers, pid)
        return True

    def _become(self, job: str, id: str, parent: int, answers: int) -> None:
        """A child's whole life; it never returns into the server's."""
        status = 1
        try:
            self._selector.close()
            self._requests.close()
            os.close(answers)
            shell.set_name(f"rivetr-{job}")
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setsid()
            shell.end_with_parent(parent)
            self._work(job, id)
            status = 0
        except BaseException:
            log.exception("The job %s %s failed", job, id)
        finally:
            logging.shutdown()
            os._exit(status)

    def _tell_end(self, watch: int, pid: int, answers: int) -> None:
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(watch)
        os.close(watch)
        self._children -= 1
        _say(answers, os.waitstatus_to_exitcode(status))
        os.close(answers)


def _say(answers: int, number: int) -> None:
    # A worker that is gone hears nothing, and its end ends us.
    with contextlib.suppress(BrokenPipeError):
        os.write(answers, b"%d\n" % number)
