"""Routes that move from one backend to another under load: nobody loses a request, and drains end."""

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.instance import wait_for
from tests.load import UPGRADE, Load, Versions
from tests.proxy.process import Proxy
from tests.proxy.wire import Answer, Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
Start = Callable[..., Proxy]
SWITCHES = 20
# Small; long enough to be spliced; in chunks; slow.
PATHS = ("/small", "/large", "/chunked", "/slow", "/small", "/small")
SIZES = {"/small": 200, "/large": 400_000, "/chunked": 3_000, "/slow": 3_000}


def content(name: str, path: str) -> bytes:
    """What a backend of this name answers; every byte of it tells whose it is."""
    return (name.encode() * SIZES[path])[: SIZES[path]]


def app(name: str) -> Answer:
    """Answers everything that a load asks for, and says when it was asked."""

    def answer(request: Message, wire: Wire) -> bytes | None:
        marks = (f"X-Backend: {name}", f"X-Asked: {time.monotonic()}")
        method, path, _ = request.line.split(" ")
        if request.all("upgrade"):
            wire.send("\r\n".join(("HTTP/1.1 101 Switching Protocols", *UPGRADE, *marks, "", "")).encode())
            while piece := wire.piece():
                wire.send(piece)
            return None
        if method == "POST":
            body = wire.exactly(int(request.one("content-length")))
            return ok(hashlib.sha256(body).hexdigest().encode(), *marks)
        if path not in ("/chunked", "/slow"):
            return ok(content(name, path), *marks)
        wire.send("\r\n".join(("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *marks, "", "")).encode())
        for at in range(0, SIZES[path], 1000):
            time.sleep(0.1 if path == "/slow" else 0.005)
            piece = content(name, path)[at : at + 1000]
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        return b"0\r\n\r\n"

    return answer


def is_whole(path: str, body: bytes, message: Message) -> str:
    name = message.one("x-backend")
    wanted = hashlib.sha256(body).hexdigest().encode() if body else content(name, path)
    return "" if message.body == wanted else f"{len(message.body)} bytes are not the {len(wanted)} of {name}"


def test_twenty_switches_under_load_lose_nothing(start: Start, backend: Make, host: str) -> None:
    proxy = start("--drain-timeout", "10")
    apps = {name: backend(app(name), reads_body=False) for name in ("a", "b")}
    versions = Versions()
    versions.switch("a", lambda: proxy.route(host, apps["a"].address))
    load = Load(proxy.port, host, is_whole, PATHS, upload="/upload").visitors(keep_alive=8, new=4, uploads=6, tunnels=4)
    with load:
        for turn in range(SWITCHES):
            load.more(20)
            time.sleep(0.2)
            name = "ba"[turn % 2]
            versions.switch(name, lambda name=name: proxy.route(host, apps[name].address))  # type: ignore[misc]
        load.more(20)
    assert not load.failures, load.told()
    wrong = [
        f"{got.kind} {got.path}: {complaint}"
        for got in load.answers
        if (complaint := versions.wrong(got.message.one("x-backend"), got.sent, float(got.message.one("x-asked"))))
    ]
    assert not wrong, "\n".join(wrong[:10])
    counts = load.counts()
    assert min(counts[kind] for kind in ("keep-alive", "new connection")) >= SWITCHES, counts
    # Each tunnel was opened once and lived on, though its backend had left many times.
    assert counts["tunnel"] == 4
    assert load.echoes >= 4 * SWITCHES
    crossing = {got.kind for got in versions.crossing(load.answers)}
    assert {"upload", "keep-alive"} <= crossing, crossing
    generation = proxy.route(host, apps["b"].address)
    wait_for(lambda: proxy.drained() >= generation, what="the drain, once everybody is gone")


def test_what_is_in_flight_at_a_switch_ends_on_the_old_backend(start: Start, backend: Make, host: str) -> None:
    proxy = start("--drain-timeout", "20")
    go_on = threading.Event()

    def answer(request: Message, wire: Wire) -> bytes:
        method, path, _ = request.line.split(" ")
        if method == "POST":
            return ok(b"old " + wire.exactly(int(request.one("content-length"))))
        if path == "/streamed":
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nold ")
        assert go_on.wait(20)
        return b"rest" if path == "/streamed" else ok(b"old rest")

    old, new = backend(answer, reads_body=False), backend(ok(b"new"))
    proxy.route(host, old.address)
    with proxy.connect() as silent, proxy.connect() as streamed, proxy.connect() as upload:
        silent.send(get(host, "/silent"))
        streamed.send(get(host, "/streamed"))
        upload.send(get(host, "/upload", "Content-Length: 4", method="POST") + b"re")
        wait_for(lambda: len(old.requests) == 3, what="the old backend to have all three")
        generation = proxy.route(host, new.address)
        for wire in (silent, streamed, upload):
            # What comes after the switch does not wait for what came before.
            assert proxy.ask(get(host)).text == "new"
            assert proxy.drained() < generation
            if wire is upload:
                upload.send(b"st")
            else:
                go_on.set()
            assert wire.response().text == "old rest"
            # And a connection that was kept is no longer with the old one.
            wire.send(get(host))
            assert wire.response().text == "new"
    wait_for(lambda: proxy.drained() >= generation, what="the drain")
    assert len(old.requests) == 3
    assert old.address not in proxy.seen()


def test_what_takes_longer_than_the_drain_timeout_is_cut_and_the_drain_ends(
    start: Start, backend: Make, host: str
) -> None:
    proxy = start("--drain-timeout", "1")

    def answer(request: Message, wire: Wire) -> None:
        if request.line.startswith("GET /streamed"):
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome")
        elif request.line.startswith("GET /chunked"):
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n")
        wire.rest()

    old = backend(answer, reads_body=False)
    proxy.route(host, old.address)
    with proxy.connect() as silent, proxy.connect() as streamed, proxy.connect() as chunked, proxy.connect() as upload:
        silent.send(get(host, "/silent"))
        streamed.send(get(host, "/streamed"))
        chunked.send(get(host, "/chunked"))
        upload.send(get(host, "/upload", "Content-Length: 1000", method="POST") + b"some")
        wait_for(lambda: len(old.requests) == 4, what="the backend to have all four")
        begun = time.monotonic()
        generation = proxy.route(host, backend(ok(b"new")).address)
        assert proxy.drained() < generation
        with ThreadPoolExecutor(4) as pool:
            ends = [pool.submit(_end_of, wire, begun) for wire in (silent, streamed, chunked, upload)]
            wait_for(lambda: proxy.drained() >= generation, what="the drain to end")
            drained_after = time.monotonic() - begun
            texts, times = zip(*(end.result() for end in ends), strict=True)
    # A second for the proxy's round, and some for a busy machine.
    assert min(times) >= 1 and max(times) < 3, times
    assert 1 <= drained_after < 3
    assert texts[0].startswith(b"HTTP/1.1 504 ")
    assert texts[1].endswith(b"\r\n\r\nsome")
    assert texts[2].endswith(b"\r\n\r\n4\r\nsome\r\n")
    assert texts[3].startswith(b"HTTP/1.1 504 ")
    assert proxy.ask(get(host)).text == "new"


def _end_of(wire: Wire, begun: float) -> tuple[bytes, float]:
    """What still comes, and when that was; a kept connection is done with its answer."""
    parts = [wire.piece()]
    ended = time.monotonic() - begun
    with contextlib.suppress(ConnectionResetError):
        while not parts[0].startswith(b"HTTP/1.1 504") and parts[-1]:
            parts.append(wire.piece())
            ended = time.monotonic() - begun
    return b"".join(parts), ended


@contextlib.contextmanager
def tunnel(proxy: Proxy, host: str) -> Iterator[Wire]:
    """An upgraded connection."""
    with proxy.connect() as wire:
        wire.send(get(host, "/tunnel", *UPGRADE))
        assert wire.head().status == 101
        yield wire


def echoes(wire: Wire, word: bytes) -> bool:
    """Whether both ways are open."""
    wire.send(word)
    return wire.exactly(len(word)) == word


def test_upgraded_connections_live_until_the_drain_timeout(start: Start, backend: Make, host: str) -> None:
    proxy = start("--drain-timeout", "1.5")
    proxy.route(host, backend(app("old"), reads_body=False).address)
    with tunnel(proxy, host) as busy, tunnel(proxy, host) as silent:
        begun = time.monotonic()
        generation = proxy.route(host, backend(ok(b"new")).address)
        while time.monotonic() < begun + 1.2:
            assert echoes(busy, b"ping")
            assert proxy.drained() < generation
            time.sleep(0.05)
        assert proxy.ask(get(host)).text == "new"
        for wire in (busy, silent):
            assert wire.has_ended()
            assert 1.5 <= time.monotonic() - begun < 3.5
        wait_for(lambda: proxy.drained() >= generation, what="the drain to end")


def test_a_drain_ends_with_its_last_connection(start: Start, backend: Make, host: str) -> None:
    proxy = start("--drain-timeout", "20")
    old = backend(app("old"), reads_body=False)
    proxy.route(host, old.address)
    with tunnel(proxy, host) as last:
        with tunnel(proxy, host) as first, proxy.connect() as slow:
            slow.send(get(host, "/slow"))
            assert slow.head().status == 200
            generation = proxy.route(host, backend(ok(b"new")).address)
            assert slow.chunks() == content("old", "/slow")
            assert echoes(first, b"ping")
        for _ in range(10):
            assert echoes(last, b"ping")
            assert proxy.drained() < generation
            time.sleep(0.03)
        # A change elsewhere makes a new generation, which says nothing of what left before it.
        later = proxy.route(f"other.{host}", old.address)
        assert generation > proxy.drained()
        later = proxy.unroute(f"other.{host}")
        assert generation > proxy.drained()
    # Both sides of the last tunnel have ended: nothing more is waited for.
    wait_for(lambda: proxy.drained() >= later, 3, "the drain to end")


def _connections_to(address: str, pid: int) -> int:
    """How many connections to a port of this machine a process holds."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            held.add(os.readlink(descriptor))
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()]
    return sum(fields[2].endswith(port) and f"socket:[{fields[9]}]" in held for fields in lines)


@pytest.fixture
def full() -> Iterator[str]:
    """An address that takes no connection and refuses none."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        address = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield f"127.0.0.1:{address[1]}"


def test_a_second_try_after_a_switch_drains_as_well(start: Start, backend: Make, host: str, full: str) -> None:
    go_on = threading.Event()

    def answer(_request: Message, _wire: Wire) -> bytes:
        assert go_on.wait(20)
        return ok(b"old")

    proxy = start("--connect-timeout", "0.5", "--drain-timeout", "20")
    old = backend(answer)
    proxy.route(host, full, old.address)
    go_on.set()
    # By turn: the first is answered at once, the second tries to connect to an address that takes no connection.
    assert proxy.ask(get(host)).text == "old"
    go_on.clear()
    with proxy.connect() as wire:
        wire.send(get(host))
        assert proxy.ask(get("nobody.test")).status == 404
        generation = proxy.route(host, backend(ok(b"new")).address)
        assert len(old.requests) == 1
        wait_for(lambda: len(old.requests) == 2, what="the second try")
        for _ in range(10):
            assert proxy.drained() < generation
            time.sleep(0.03)
        go_on.set()
        assert wire.response().text == "old"
    wait_for(lambda: proxy.drained() >= generation, what="the drain to end")
    # Nothing stays open to who has left.
    wait_for(lambda: _connections_to(old.address, proxy.pid) == 0, what="the connections to the old backend to end")
