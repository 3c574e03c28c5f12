"""Visitors that never rest: each notes every answer, or exactly why there was none."""

import hashlib
import itertools
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.instance import wait_for
from tests.proxy.wire import Message, Wire, connect, get

# What is wrong with the answer to a request for this path with this body; nothing when all is right.
Check = Callable[[str, bytes, Message], str]
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
_PIECES, _PIECE_SECONDS = 10, 0.1


@dataclass(frozen=True, slots=True)
class Got:
    """A whole answer; `sent` is when its request began, `ended` when its last byte was there."""

    kind: str
    path: str
    sent: float
    ended: float
    message: Message


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without the answer that it should have had, from the client's `port`."""

    kind: str
    path: str
    sent: float
    failed: float
    port: int
    reason: str

    def __str__(self) -> str:
        took = self.failed - self.sent
        return f"{self.kind} {self.path} from port {self.port}, at {self.sent:.3f}, after {took:.3f} s: {self.reason}"


class Load:
    """Visitors of `host`, running inside a `with`: keep-alive ones, new connections, slow uploads, tunnels."""

    def __init__(self, port: int, host: str, check: Check, paths: Sequence[str] = ("/",), upload: str = "/") -> None:
        self._port, self._host, self._check = port, host, check
        self._paths, self._upload = paths, upload
        self._over = threading.Event()
        self._visitors: list[threading.Thread] = []
        self.answers: list[Got] = []
        self.failures: list[Failure] = []
        # How often a tunnel gave back what was sent into it.
        self.echoes = 0

    def visitors(self, keep_alive: int = 0, new: int = 0, uploads: int = 0, tunnels: int = 0) -> "Load":
        """So many of each kind."""
        kinds = (
            (self._keep_alive, keep_alive),
            (self._new, new),
            (self._slow_upload, uploads),
            (self._tunnel, tunnels),
        )
        numbers = itertools.count()
        self._visitors += [
            threading.Thread(target=kind, args=(next(numbers),)) for kind, count in kinds for _ in range(count)
        ]
        return self

    def __enter__(self) -> "Load":
        for visitor in self._visitors:
            visitor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for visitor in self._visitors:
            visitor.join()

    def more(self, count: int, seconds: float = 20) -> None:
        """Wait for so many more answers."""
        wanted = len(self.answers) + count
        wait_for(lambda: len(self.answers) >= wanted, seconds, f"{count} more answers; failures: {self.told()}")

    def counts(self) -> Counter[str]:
        """Answers by kind."""
        return Counter(answer.kind for answer in self.answers)

    def told(self, failures: Sequence[Failure] | None = None) -> str:
        """What went wrong, for a test's message."""
        failures = list(self.failures if failures is None else failures)
        reasons = Counter((failure.kind, failure.reason) for failure in failures)
        lines = [f"{len(failures)} failures beside {dict(self.counts())} answers"]
        lines += [f"{count} x {kind}: {reason}" for (kind, reason), count in reasons.most_common(10)]
        return "\n  ".join([*lines, *map(str, failures[:10])])

    def _keep_alive(self, number: int) -> None:
        wire: Wire | None = None
        for path in itertools.cycle(self._turned(number)):
            if self._over.wait(0.01):
                break
            if wire is None or _was_closed(wire):
                wire = self._opened("keep-alive", path, wire)
            if wire is not None:
                wire = self._ask(wire, "keep-alive", path, get(self._host, path))
        if wire is not None:
            wire.close()

    def _new(self, number: int) -> None:
        for path in itertools.cycle(self._turned(number)):
            if self._over.wait(0.03):
                return
            wire = self._opened("new connection", path)
            if wire is not None:
                with wire:
                    self._ask(wire, "new connection", path, get(self._host, path, "Connection: close"))

    def _slow_upload(self, number: int) -> None:
        path = self._upload
        while not self._over.wait(0.01):
            wire = self._opened("upload", path)
            if wire is not None:
                body = hashlib.sha256(b"%d" % number).digest() * 200
                with wire:
                    head = get(self._host, path, f"Content-Length: {len(body)}", method="POST")
                    self._ask(wire, "upload", path, head, body)

    def _tunnel(self, number: int) -> None:
        while not self._over.wait(0.01):
            wire = self._opened("tunnel", "/tunnel")
            if wire is not None:
                with wire:
                    self._echo(wire, number)

    def _echo(self, wire: Wire, number: int) -> None:
        sent = time.monotonic()
        try:
            wire.send(get(self._host, "/tunnel", *UPGRADE))
            head = wire.head()
            if head.status != 101:
                self._fail(wire, "tunnel", "/tunnel", sent, head.line)
                return
            self._note("tunnel", "/tunnel", sent, head)
            for turn in itertools.count():
                word = b"%d-%d;" % (number, turn)
                sent = time.monotonic()
                wire.send(word)
                came = wire.exactly(len(word))
                if came != word:
                    self._fail(wire, "tunnel", "/tunnel", sent, f"{word!r} came back as {came!r}")
                    return
                self.echoes += 1
                if self._over.wait(0.05):
                    return
        except (OSError, EOFError) as error:
            self._fail(wire, "tunnel", "/tunnel", sent, f"while open: {_reason(wire, error)}")

    def _turned(self, number: int) -> Sequence[str]:
        """The paths, each visitor beginning with another one."""
        at = number % len(self._paths)
        return [*self._paths[at:], *self._paths[:at]]

    def _opened(self, kind: str, path: str, before: Wire | None = None) -> Wire | None:
        if before is not None:
            before.close()
        begun = time.monotonic()
        try:
            return connect(self._port)
        except OSError as error:
            reason = f"cannot connect: {type(error).__name__}"
            self.failures.append(Failure(kind, path, begun, time.monotonic(), 0, reason))
            return None

    def _ask(self, wire: Wire, kind: str, path: str, head: bytes, body: bytes = b"") -> Wire | None:
        """One request; gives the connection if it may carry another one."""
        sent = time.monotonic()
        try:
            wire.send(head)
            size = -(-len(body) // _PIECES) or 1
            for at in range(0, len(body), size):
                # A beat of the client, not a wait for anything.
                time.sleep(_PIECE_SECONDS)
                wire.send(body[at : at + size])
            message = wire.response()
        except (OSError, EOFError) as error:
            self._fail(wire, kind, path, sent, _reason(wire, error))
            wire.close()
            return None
        wrong = message.line if message.status != 200 else self._check(path, body, message)
        if wrong:
            self._fail(wire, kind, path, sent, wrong)
        else:
            self._note(kind, path, sent, message)
        if "close" in message.all("connection"):
            wire.close()
            return None
        return wire

    def _note(self, kind: str, path: str, sent: float, message: Message) -> None:
        self.answers.append(Got(kind, path, sent, time.monotonic(), message))

    def _fail(self, wire: Wire, kind: str, path: str, sent: float, reason: str) -> None:
        port = wire.sock.getsockname()[1]
        self.failures.append(Failure(kind, path, sent, time.monotonic(), port, reason))


def _was_closed(wire: Wire) -> bool:
    """Whether the other side has ended a connection between two requests, as it may."""
    if not select.select([wire.sock], [], [], 0)[0]:
        return False
    try:
        return wire.sock.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def _reason(wire: Wire, error: Exception) -> str:
    kind = "it ended" if isinstance(error, EOFError) else type(error).__name__
    if not wire.buffer:
        return f"{kind} before a byte of the answer, or after its head"
    return f"{kind} in the middle of the answer, after {wire.buffer[:60]!r}"


class Versions:
    """Which version was in the table when: what an answer is compared with."""

    def __init__(self) -> None:
        self._times: dict[str, list[list[float]]] = {}
        self._now = ""

    def switch(self, version: str, act: Callable[[], object]) -> None:
        """Have `act` put `version` into the table; when it comes back, nothing else is in there."""
        self._times.setdefault(version, []).append([time.monotonic(), float("inf")])
        act()
        if self._now:
            self._times[self._now][-1][1] = time.monotonic()
        self._now = version

    def wrong(self, version: str, sent: float, chosen: float) -> str:
        """What is wrong with `version` for a request that went out at `sent` and had its backend by `chosen`."""
        times = self._times.get(version, [])
        if any(begin <= chosen and sent <= end for begin, end in times):
            return ""
        return f"answered by {version}, which was not in the table from {sent:.3f} to {chosen:.3f}, but during {times}"

    def crossing(self, answers: Sequence[Got]) -> list[Got]:
        """Those whose request began before a switch and ended after it."""
        ends = [end for times in self._times.values() for _, end in times]
        return [answer for answer in answers if any(answer.sent < end < answer.ended for end in ends)]
