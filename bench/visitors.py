"""Visitors of every temper, for the soak: each thread has one, keeps to a rate, and says what went wrong."""

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench import heads
from bench.bodies import Client
from bench.upstream import FILES, MEBIBYTE, SMALL_BYTES
from tests.proxy.wire import Message, Wire, connect, get

SLOW_PIECE, SLOW_PAUSE = 32 * 1024, 0.1
ECHOES = 5


@dataclass(slots=True)
class Crowd:
    """The threads of one soak, and what they count."""

    port: int
    host: str
    upgrade_host: str
    done: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, wrong: str = "") -> None:
        with self._lock:
            self.done[kind] += 1
            if wrong:
                self.errors[f"{kind}: {wrong}"] += 1

    def connect(self) -> Wire:
        return connect(self.port)


@dataclass(frozen=True, slots=True)
class Temper:
    """How one kind of visitor behaves: `visit` again and again, `rate` times a second in each of `threads`."""

    name: str
    threads: int
    rate: float
    visit: Callable[[Crowd, random.Random], None]


def _keeps(crowd: Crowd, chance: random.Random) -> None:
    """Some pages on one connection, with the pauses of a reader."""
    with crowd.connect() as wire:
        for _ in range(20):
            _ask(crowd, wire, heads.browser(crowd.host, f"{chance.getrandbits(64):x}").encode(), "kept-alive")
            if crowd.ended.wait(chance.random() * 0.1):
                return


def _comes_anew(crowd: Crowd, _chance: random.Random) -> None:
    with crowd.connect() as wire:
        _ask(crowd, wire, heads.closing(crowd.host).encode(), "new")
        assert wire.has_ended(), "the connection stayed open"


def _ask(crowd: Crowd, wire: Wire, request: bytes, kind: str) -> None:
    wire.send(request)
    answer = wire.response()
    whole = answer.status == 200 and len(answer.body) == SMALL_BYTES
    crowd.count(kind, "" if whole else f"{answer.status}, {len(answer.body)} bytes")


def _uploads(crowd: Crowd, chance: random.Random) -> None:
    wrong: Counter[str] = Counter()
    with contextlib.closing(Client(crowd.port, crowd.host, wrong)) as client:
        client.up(f"/up/{chance.randrange(16)}", chance.choice((1, 1, 8)) * MEBIBYTE)
    crowd.count("upload", ", ".join(wrong))


def _uploads_chunks(crowd: Crowd, chance: random.Random) -> None:
    with crowd.connect() as wire:
        fields = (f"Host: {crowd.host}", "Transfer-Encoding: chunked", "", "")
        wire.send("\r\n".join((f"PUT /up/{16 + chance.randrange(16)} HTTP/1.1", *fields)).encode())
        for _ in range(20):
            piece = bytes(chance.randrange(1, 40_000))
            wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        wire.send(b"0\r\n\r\n")
        status = wire.response(has_body=False).status
        crowd.count("chunks up", "" if status in (201, 204) else str(status))


def _reads_slowly(crowd: Crowd, _chance: random.Random) -> None:
    """1 MiB in small sips: the proxy must wait, and hold little of it."""
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_PIECE)
        plain.settimeout(60)
        plain.connect(("127.0.0.1", crowd.port))
        wire = Wire(plain)
        wire.send(get(crowd.host, "/1m"))
        size = int(wire.head().one("content-length"))
        got = len(wire.buffer)
        while got < size and (piece := plain.recv(SLOW_PIECE)):
            got += len(piece)
            if crowd.ended.wait(SLOW_PAUSE):
                return
        crowd.count("slow", "" if got == size == FILES["/1m"] else f"{got} of {size} bytes")


def _vanishes(crowd: Crowd, chance: random.Random) -> None:
    """Is gone in the middle of something, politely or with a reset."""
    upload = f"PUT /up/{32 + chance.randrange(16)} HTTP/1.1\r\nHost: {crowd.host}\r\nContent-Length: 500000\r\n\r\n"
    chunked = f"PUT /up/48 HTTP/1.1\r\nHost: {crowd.host}\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nabc"
    sent = chance.choice(
        (
            b"",
            b"GET / HT",
            f"GET / HTTP/1.1\r\nHost: {crowd.host}\r\nCook".encode(),
            get(crowd.host),
            get(crowd.host, "/100m"),
            get(crowd.host, "/1m") * 3,
            upload.encode() + bytes(chance.randrange(200_000)),
            chunked.encode(),
        )
    )
    wire = crowd.connect()
    wire.send(sent)
    time.sleep(chance.choice((0, 0, 0.01, 0.2)))
    if chance.random() < 0.5:
        wire.reset()
    else:
        wire.close()
    crowd.count("vanished")


def _upgrades(crowd: Crowd, chance: random.Random) -> None:
    """Talks over an upgraded connection; closes it, or is gone."""
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: c29haw==")
    with crowd.connect() as wire:
        wire.send(get(crowd.upgrade_host, "/", *fields))
        status = wire.head().status
        if status != 101:
            crowd.count("upgrade", str(status))
            return
        for _ in range(ECHOES):
            said = chance.randbytes(chance.randrange(1, 5000))
            wire.send(said)
            if wire.exactly(len(said)) != said:
                crowd.count("upgrade", "wrong echo")
                return
            crowd.ended.wait(0.2)
        crowd.count("upgrade")
        if chance.random() < 0.5:
            wire.reset()


TEMPERS: Sequence[Temper] = (
    Temper("kept-alive", 8, 1, _keeps),
    Temper("new", 2, 20, _comes_anew),
    Temper("upload", 2, 1, _uploads),
    Temper("chunks up", 1, 2, _uploads_chunks),
    Temper("slow", 8, 1, _reads_slowly),
    Temper("vanished", 2, 10, _vanishes),
    Temper("upgrade", 4, 1, _upgrades),
)


@contextlib.contextmanager
def visiting(crowd: Crowd) -> Iterator[None]:
    """All of them, while the block runs."""
    threads = [
        threading.Thread(target=_repeat, args=(crowd, temper, random.Random(number)))
        for temper in TEMPERS
        for number in range(temper.threads)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        crowd.ended.set()
        for thread in threads:
            thread.join()


def _repeat(crowd: Crowd, temper: Temper, chance: random.Random) -> None:
    while True:
        begun = time.monotonic()
        try:
            temper.visit(crowd, chance)
        except (OSError, EOFError, AssertionError, ValueError) as error:
            crowd.count(temper.name, f"{type(error).__name__} {error}"[:80])
        if crowd.ended.wait(max(0.0, begun + 1 / temper.rate - time.monotonic())):
            return


def echo(request: Message, wire: Wire) -> None:
    """What the upgraded connections have behind the proxy: 101, then everything back."""
    assert request.one("upgrade") == "websocket"
    wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    while piece := wire.piece():
        wire.send(piece)
