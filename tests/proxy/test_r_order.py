"""A connection's bytes keep their order and meaning while its requests wait, and after its last one (R20, R24)."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.instance import wait_for
from tests.proxy.process import Proxy
from tests.proxy.recorder import Record, Recorders
from tests.proxy.wire import Backend, Wire, get, ok

Make = Callable[..., Backend]
MIB = 1 << 20
PAUSED = {"paused": {"limit_seconds": 20}}


@pytest.fixture
def recorded(shared: Proxy, host: str) -> Iterator[tuple[str, Record, Record]]:
    """The address and record of a backend, and the record of the one of `other.HOST`."""
    recorders = Recorders()
    address, record = recorders.add()
    other_address, other = recorders.add()
    shared.route(f"other.{host}", other_address)
    yield address, record, other
    recorders.close()


@pytest.mark.parametrize("framing", ["Content-Length: {}", "Transfer-Encoding: chunked"])
def test_r20_a_body_that_comes_while_the_route_is_paused_is_a_body(
    shared: Proxy, host: str, recorded: tuple[str, Record, Record], framing: str
) -> None:
    address, record, other = recorded
    shared.route(host, address, policy=PAUSED)
    smuggled = get(f"other.{host}", "/smuggled")
    body = smuggled if "Length" in framing else b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled)
    with shared.connect() as wire:
        wire.send(get(host, "/", framing.format(len(smuggled)), method="POST"))
        time.sleep(0.1)
        for piece in (body[:30], body[30:]):
            wire.send(piece)
            time.sleep(0.1)
        shared.route(host, address)
        assert wire.response().text == f"POST / {len(smuggled)}"
    assert [request.core for request in record.requests] == [(b"POST", b"/", smuggled)]
    assert other.requests == []


def test_r24_requests_after_a_paused_one_wait_for_their_turn(
    shared: Proxy, host: str, recorded: tuple[str, Record, Record]
) -> None:
    address, _, _ = recorded
    shared.route(host, address, policy=PAUSED)
    with shared.connect() as wire:
        wire.send(get(host, "/1"))
        for number in (2, 3):
            time.sleep(0.1)
            wire.send(get(f"other.{host}", f"/{number}"))
        time.sleep(0.1)
        shared.route(host, address)
        assert [wire.response().text for _ in range(3)] == ["GET /1 0", "GET /2 0", "GET /3 0"]


def test_r24_nothing_is_served_after_connection_close(
    shared: Proxy, backend: Make, host: str, recorded: tuple[str, Record, Record]
) -> None:
    _, _, other = recorded
    shared.route(host, backend(ok(b"x" * 30 * MIB)).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", "Connection: close"))
        head = wire.head()
        # The answer is on its way, and more is sent meanwhile.
        for _ in range(3):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                wire.send(get(f"other.{host}", "/late"))
        with contextlib.suppress(ConnectionResetError):
            _read(wire, int(head.one("content-length")))
            wire.send(get(f"other.{host}", "/later"))
            assert wire.has_ended()
    assert other.requests == []


def _read(wire: Wire, length: int) -> None:
    left = length
    while left:
        piece = wire.piece()
        assert piece
        left -= len(piece)


def test_r24_whoever_pipelines_without_reading_costs_no_memory(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x" * 20_000))
    shared.route(host, app.address)
    assert shared.ask(get(host)).status == 200
    Path(f"/proc/{shared.pid}/clear_refs").write_text("5")
    before = shared.resident_peak()
    with shared.connect() as wire:
        wire.sock.settimeout(0.3)
        several = get(host, "/", "X: " + "y" * 200) * 100
        with contextlib.suppress(TimeoutError):
            for _ in range(3000):
                wire.send(several)
        served = 0
        while served < len(app.requests):
            served = len(app.requests)
            time.sleep(0.2)
        assert served < 3000
    assert shared.resident_peak() - before < 20 * MIB
    wait_for(lambda: shared.ask(get(host)).status == 200, 5)


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        ({"unavailable": "stopped"}, 503),
        ({"maintenance": {"message": "Back soon"}}, 503),
        ({"allow": ["10.0.0.0/8"]}, 403),
        ({"basic_auth": {"realm": "r", "users": {"x": "scrypt$16384$8$1$c2FsdHNhbHQ=$" + "A" * 43 + "="}}}, 401),
        ({"redirects": [{"from": "/", "to": "https://x.test/", "status": 307}]}, 307),
        ({"https_only": True}, 308),
        ({"max_body_bytes": 3}, 413),
        (None, 404),
    ],
)
def test_r20_the_body_of_a_request_answered_early_is_no_request(
    shared: Proxy, host: str, recorded: tuple[str, Record, Record], policy: dict[str, object] | None, status: int
) -> None:
    address, record, other = recorded
    if policy is not None:
        addresses = () if "unavailable" in policy else (address,)
        shared.route(host, *addresses, policy=policy)
    body = get(f"other.{host}", "/smuggled")
    with shared.connect() as wire:
        wire.send(get(host, "/", f"Content-Length: {len(body)}", method="POST"))
        assert wire.response().status == status
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(body)
            assert wire.has_ended()
    assert record.requests == other.requests == []


def test_r20_the_body_of_a_request_that_a_backend_answered_early_is_no_request(
    shared: Proxy, backend: Make, host: str, recorded: tuple[str, Record, Record]
) -> None:
    _, _, other = recorded
    shared.route(host, backend(ok(b"early"), reads_body=False).address)
    body = get(f"other.{host}", "/smuggled")
    with shared.connect() as wire:
        wire.send(get(host, "/", f"Content-Length: {len(body)}", method="POST"))
        assert wire.response().text == "early"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(body + get(f"other.{host}", "/next"))
            left = wire.rest()
            assert b"/smuggled" not in left
    assert b"/smuggled" not in {request.target for request in other.requests}
