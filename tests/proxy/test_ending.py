"""How a proxy ends: SIGQUIT gives everybody their time, SIGTERM a few seconds, also after SIGQUIT."""

import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests.instance import wait_for
from tests.proxy.process import Proxy
from tests.proxy.test_switching import app, echoes, tunnel
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
Start = Callable[..., Proxy]


def ended_within(proxy: Proxy, seconds: float) -> bool:
    assert proxy.process is not None
    return proxy.process.wait(seconds) == 0


def test_a_drain_says_so_to_kept_connections_and_ends_with_the_last(start: Start, backend: Make, host: str) -> None:
    proxy = start("--drain-timeout", "20")
    go_on = threading.Event()

    def answer(request: Message, _wire: Wire) -> bytes:
        assert "/slow" not in request.line or go_on.wait(20)
        return ok(b"x")

    proxy.route(host, backend(answer).address)
    proxy.route(f"tunnel.{host}", backend(app("a"), reads_body=False).address)
    assert proxy.process is not None
    with proxy.connect() as kept, proxy.connect() as slow, tunnel(proxy, f"tunnel.{host}") as upgraded:
        kept.send(get(host))
        assert kept.response().all("connection") == []
        slow.send(get(host, "/slow"))
        assert proxy.ask(get("nobody.test")).status == 404
        proxy.process.send_signal(signal.SIGQUIT)
        wait_for(lambda: _refuses(proxy), what="new connections to be refused")
        kept.send(get(host))
        assert kept.response().one("connection") == "close"
        assert kept.has_ended()
        go_on.set()
        assert slow.response().one("connection") == "close"
        assert slow.has_ended()
        assert echoes(upgraded, b"ping")
        assert not proxy.has_ended()
    assert ended_within(proxy, 5)
    assert proxy.worker() is None


def _refuses(proxy: Proxy) -> bool:
    try:
        proxy.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_drain_is_over_when_its_time_is(start: Start, backend: Make, host: str) -> None:
    proxy = start("--drain-timeout", "1")
    proxy.route(host, backend(app("a"), reads_body=False).address)
    assert proxy.process is not None
    with proxy.connect() as idle, tunnel(proxy, host) as upgraded:
        idle.send(get(host, "/small"))
        assert idle.response().status == 200
        begun = time.monotonic()
        proxy.process.send_signal(signal.SIGQUIT)
        assert idle.has_ended()
        assert upgraded.has_ended()
        assert 1 <= time.monotonic() - begun < 3
        assert ended_within(proxy, 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_can_be_cut_short(start: Start, backend: Make, host: str, number: signal.Signals) -> None:
    proxy = start("--drain-timeout", "20")
    proxy.route(host, backend(app("a"), reads_body=False).address)
    assert proxy.process is not None
    with proxy.connect() as idle, proxy.connect() as slow, tunnel(proxy, host) as upgraded:
        idle.send(get(host, "/small"))
        assert idle.response().status == 200
        slow.send(get(host, "/slow"))
        assert slow.head().status == 200
        proxy.process.send_signal(signal.SIGQUIT)
        wait_for(lambda: _refuses(proxy), what="new connections to be refused")
        begun = time.monotonic()
        proxy.process.send_signal(number)
        assert idle.has_ended()
        assert len(slow.chunks()) == 3_000
        # It was told that it may ask again; it does not, and nobody waits for that.
        assert slow.has_ended()
        assert upgraded.has_ended()
        assert ended_within(proxy, 5)
        assert time.monotonic() - begun < 4
