"""Who asks, when others ask in a client's place (PROXY protocol, X-Forwarded-For), and how many may."""

import ipaddress
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.instance import free_port, wait_for
from tests.proxy.process import Proxy, running, tls_options
from tests.proxy.test_serving import certificate
from tests.proxy.wire import Backend, Message, Wire, connect, get, ok

Make = Callable[..., Backend]
Start = Callable[..., Proxy]
TRUST = ("--trusted-proxy", "127.0.0.0/8")
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"


def binary(source: str, command: int = 0x21, extra: bytes = b"") -> bytes:
    """An introduction of version 2 for a TCP client."""
    address = ipaddress.ip_address(source)
    family = 0x11 if address.version == 4 else 0x21
    body = address.packed * 2 + struct.pack("!HH", 1000, 80) + extra
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


@pytest.fixture(scope="module")
def introduced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that wants an introduction from this machine, plain and before TLS."""
    folder = tmp_path_factory.mktemp("introduced")
    tls_port = free_port()
    files = certificate(folder, "default.test")
    options = (*TRUST, "--proxy-protocol", "--connect-timeout", "0.8", *tls_options(tls_port, *files))
    with running(folder, *options, constants={"proxy.proxy_protocol._SECONDS": 1.5}) as proxy:
        proxy.tls_port = tls_port
        yield proxy


@pytest.fixture(scope="module", autouse=True)
def greets() -> Iterator[None]:
    """`Proxy.start` asks without an introduction and takes the closed connection for no answer yet."""
    with pytest.MonkeyPatch.context() as patch:
        original = Proxy._answers

        def answers(proxy: Proxy) -> bool:
            if not {"--proxy-protocol", *TRUST} <= set(proxy.options):
                return original(proxy)
            try:
                return proxy.ask(LINE + get("is-it-there.test")).status > 0
            except (OSError, EOFError):
                return False

        patch.setattr(Proxy, "_answers", answers)
        yield


def seen_by(app: Backend) -> str:
    return app.requests[-1].one("x-forwarded-for")


@pytest.mark.parametrize(
    ("introduction", "client"),
    [
        (LINE, "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 1000 80\r\n", "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1000 80\r\n", "192.0.2.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1"),
        (binary("192.0.2.1"), "192.0.2.1"),
        (binary("2001:db8::1"), "2001:db8::1"),
        (binary("192.0.2.1", extra=b"\x04\0\x03\0\0\0" + b"\xea\0\x04\0\0\0\0"), "192.0.2.1"),
        (binary("192.0.2.1", command=0x20), "127.0.0.1"),
        (SIGNATURE + b"\x21\x00\0\0", "127.0.0.1"),
        (SIGNATURE + b"\x20\x00\0\0", "127.0.0.1"),
        (SIGNATURE + b"\x21\x31\0\xd8" + b"/" * 216, "127.0.0.1"),
    ],
)
def test_an_introduction_says_who_asks(
    introduced: Proxy, backend: Make, host: str, introduction: bytes, client: str
) -> None:
    app = backend(ok(b"x"))
    introduced.route(host, app.address)
    with introduced.connect() as wire:
        wire.send(introduction + get(host))
        assert wire.response().text == "x"
        assert seen_by(app) == client
        # It is said once; the connection's next request is the same client's.
        wire.send(get(host))
        assert wire.response().text == "x"
        assert seen_by(app) == client


@pytest.mark.parametrize("introduction", [LINE, binary("192.0.2.1")], ids=["line", "binary"])
@pytest.mark.parametrize("at", [1, 13, 27])
def test_an_introduction_may_come_in_pieces(
    introduced: Proxy, backend: Make, host: str, introduction: bytes, at: int
) -> None:
    app = backend(ok(b"x"))
    introduced.route(host, app.address)
    with introduced.connect() as wire:
        wire.send(introduction[:at])
        time.sleep(0.1)
        wire.send(introduction[at:])
        time.sleep(0.1)
        wire.send(get(host))
        assert wire.response().text == "x"
    assert seen_by(app) == "192.0.2.1"


def cpu_ticks(proxy: Proxy) -> int:
    after_name = Path(f"/proc/{proxy.pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[11]) + int(after_name[12])


def test_to_wait_for_the_rest_of_an_introduction_costs_nothing(introduced: Proxy) -> None:
    with introduced.connect() as wire:
        wire.send(LINE[:20])
        time.sleep(0.1)
        before = cpu_ticks(introduced)
        time.sleep(0.3)
        assert cpu_ticks(introduced) - before <= 5


@pytest.mark.parametrize("introduction", [LINE, binary("192.0.2.1")], ids=["line", "binary"])
def test_an_introduction_comes_before_tls(introduced: Proxy, backend: Make, host: str, introduction: bytes) -> None:
    app = backend(ok(b"x"))
    introduced.route(host, app.address)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(introduced.tls_port) as plain:
        plain.send(introduction)
        with Wire(context.wrap_socket(plain.sock, server_hostname="default.test")) as wire:
            wire.send(get(host))
            assert wire.response().text == "x"
    assert (seen_by(app), app.requests[-1].one("x-forwarded-proto")) == ("192.0.2.1", "https")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        b"PROXY TCP4 localhost localhost 1 2\r\n",
        b"PROXY TCP9 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x11\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\0\x04" + bytes(4),
        SIGNATURE + b"\x21\x11\xff\xff" + bytes(12),
        SIGNATURE[:-1] + b"x",
    ],
)
def test_a_trusted_peer_without_a_good_introduction_is_closed(
    introduced: Proxy, backend: Make, host: str, raw: bytes
) -> None:
    app = backend(ok(b"x"))
    introduced.route(host, app.address)
    with introduced.connect() as wire:
        wire.send(raw.replace(b"%s", host.encode()))
        wire.sock.settimeout(5)
        assert wire.has_ended()
    assert app.requests == []


@pytest.mark.parametrize("ends", [False, True])
def test_half_an_introduction_is_not_waited_for_long(introduced: Proxy, ends: bool) -> None:
    begun = time.monotonic()
    with introduced.connect() as wire:
        wire.send(binary("192.0.2.1")[:20])
        if ends:
            wire.sock.shutdown(1)
        assert wire.has_ended()
    assert time.monotonic() - begun < (1 if ends else 4)


@pytest.mark.parametrize("options", [(), ("--proxy-protocol", "--trusted-proxy", "10.0.0.0/8")])
def test_an_introduction_by_a_stranger_is_garbage(
    start: Start, backend: Make, host: str, options: tuple[str, ...]
) -> None:
    app = backend(ok(b"x"))
    proxy = start(*options)
    proxy.route(host, app.address)
    for introduction in (LINE, binary("192.0.2.1")):
        assert proxy.ask(introduction + get(host)).status == 400
    assert app.requests == []
    assert proxy.ask(get(host)).text == "x"


# X-Forwarded-For


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy behind others: those of this machine, and of 10.0.0.0/8."""
    with running(tmp_path_factory.mktemp("behind"), *TRUST, "--trusted-proxy", "10.0.0.0/8") as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("claim", "status"),
    [
        ("192.0.2.1", 200),
        ("198.51.100.1", 403),
        ("198.51.100.1, 192.0.2.1", 200),
        ("192.0.2.1, 198.51.100.1", 403),
        ("198.51.100.1, 192.0.2.1, 10.1.1.1, 10.2.2.2", 200),
        ("192.0.2.1, nonsense", 403),
        ("192.0.2.1,", 403),
        ("", 403),
    ],
)
def test_allow_goes_by_the_nearest_address_that_nobody_vouches_for(
    behind: Proxy, backend: Make, host: str, claim: str, status: int
) -> None:
    behind.route(host, backend(ok(b"x")).address, policy={"allow": ["192.0.2.0/24"]})
    assert behind.ask(get(host, "/", f"X-Forwarded-For: {claim}")).status == status


def test_several_claims_are_one_list(behind: Proxy, backend: Make, host: str) -> None:
    behind.route(host, backend(ok(b"x")).address, policy={"allow": ["192.0.2.0/24"]})
    claims = ["X-Forwarded-For: 192.0.2.1", "x-forwarded-for: 198.51.100.1"]
    assert behind.ask(get(host, "/", *claims)).status == 403
    assert behind.ask(get(host, "/", *reversed(claims))).status == 200


def test_a_rate_is_that_of_the_client_behind_the_proxies(behind: Proxy, backend: Make, host: str) -> None:
    behind.route(host, backend(ok(b"x")).address, policy={"rate_limit": {"requests": 1, "seconds": 600}})
    with behind.connect() as wire:
        statuses = []
        for client in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "6.6.6.6, 192.0.2.2"):
            wire.send(get(host, "/", f"X-Forwarded-For: {client}"))
            statuses.append(wire.response().status)
    assert statuses == [200, 200, 429, 429]


def test_an_introduced_stranger_claims_nothing(introduced: Proxy, backend: Make, host: str) -> None:
    introduced.route(host, backend(ok(b"x")).address, policy={"allow": ["10.0.0.0/8"]})
    assert introduced.ask(LINE + get(host, "/", "X-Forwarded-For: 10.1.1.1")).status == 403
    assert introduced.ask(binary("10.1.1.1") + get(host)).text == "x"


# How many


def test_who_comes_when_all_connections_are_taken_waits(start: Start, backend: Make, host: str) -> None:
    proxy = start("--max-connections", "3", "--connect-timeout", "0.8")
    proxy.route(host, backend(ok(b"x")).address)
    with ExitStack() as stack:
        wires = [stack.enter_context(proxy.connect()) for _ in range(5)]
        for wire in wires[:3]:
            wire.send(get(host))
            assert wire.response().text == "x"
        for wire in wires[3:]:
            wire.send(get(host))
            wire.sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                wire.response()
            wire.sock.settimeout(20)
        # Those inside are none the worse.
        wires[0].send(get(host))
        assert wires[0].response().text == "x"
        for number in range(2):
            wires[number].close()
            assert wires[3 + number].response().text == "x"


def test_a_client_with_too_many_connections_is_closed_and_others_are_not(
    start: Start, backend: Make, host: str
) -> None:
    proxy = start(*TRUST, "--proxy-protocol", "--max-connections-per-client", "2")
    proxy.route(host, backend(ok(b"x")).address)

    def introduce(stack: ExitStack, client: str) -> Wire:
        wire = stack.enter_context(proxy.connect())
        wire.send(binary(client) + get(host))
        return wire

    with ExitStack() as stack:
        first = introduce(stack, "192.0.2.1")
        assert [first.response().text, introduce(stack, "192.0.2.1").response().text] == ["x", "x"]
        assert introduce(stack, "192.0.2.1").has_ended()
        assert introduce(stack, "192.0.2.2").response().text == "x"
        first.close()
        wait_for(lambda: _is_served(introduce(stack, "192.0.2.1")), 5, "room")


def _is_served(wire: Wire) -> bool:
    try:
        return wire.response().status == 200
    except (EOFError, ConnectionResetError):
        return False


def test_one_address_has_only_so_many_connections(start: Start, backend: Make, host: str) -> None:
    proxy = start("--max-connections-per-client", "2")
    proxy.route(host, backend(ok(b"x")).address)
    with proxy.connect() as first, proxy.connect() as second:
        for wire in (first, second):
            wire.send(get(host))
            assert wire.response().text == "x"
        with proxy.connect() as third:
            third.send(get(host))
            assert not _is_served(third)
        second.send(get(host))
        assert second.response().text == "x"


def test_a_trusted_proxy_may_have_many_connections(start: Start, backend: Make, host: str) -> None:
    proxy = start(*TRUST, "--max-connections-per-client", "2")
    proxy.route(host, backend(lambda _request, _wire: ok(b"x")).address)
    answers: list[Message] = []
    with ExitStack() as stack:
        for _ in range(6):
            wire = stack.enter_context(proxy.connect())
            wire.send(get(host))
            answers.append(wire.response())
    assert [answer.text for answer in answers] == ["x"] * 6
