"""Hostile inputs: no port for administrators, Hosts that are no names, answers that ask for more (S62-S64)."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proxy.process import Proxy
from tests.proxy.wire import Backend, Message, Wire, get, ok

Make = Callable[..., Backend]
OK = b"HTTP/1.1 200 OK\r\n"
LISTEN = "0A"
ORDERS = (
    "X-Accel-Redirect: /etc/passwd",
    "X-Sendfile: /etc/passwd",
    "X-Lighttpd-Send-File: /etc/passwd",
    "X-Reproxy-URL: http://127.0.0.1/",
    "X-Accel-Buffering: no",
)


def _inodes(proxy: Proxy) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{proxy.pid}/fd").iterdir():
        match = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
        if match:
            found.add(match[1])
    return found


def _ports(proxy: Proxy, table: str, state: str) -> set[int]:
    """The local ports of the proxy's sockets in /proc/net/TABLE that are in this state."""
    rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    own = _inodes(proxy)
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[9] in own and row[3] == state}


def test_s62_it_listens_on_nothing_but_its_port(start: Callable[..., Proxy]) -> None:
    proxy = start()
    assert _ports(proxy, "tcp", LISTEN) == {proxy.port}
    assert _ports(proxy, "tcp6", LISTEN) == set()
    for table in ("udp", "udp6"):
        assert _ports(proxy, table, "07") == set()


def test_s62_no_local_socket_of_it_takes_connections_or_has_a_file(start: Callable[..., Proxy]) -> None:
    proxy = start()
    own = _inodes(proxy)
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    sockets = [(row[4], row[7]) for row in rows if row[6] in own and len(row) > 7]
    # Type 2 is a datagram: it only wakes the proxy, whatever it holds.
    assert [kind for kind, name in sockets if name.startswith("@")] == ["0002"]
    assert [name for _, name in sockets if name.startswith("/")] == []


@pytest.mark.parametrize(
    "path", ["/", "/admin", "/metrics", "/config/", "/debug/pprof/", "/.well-known/acme-challenge/../x"]
)
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "rebound.attacker.test", "rivetr-proxy"])
def test_s62_no_name_leads_inside(shared: Proxy, path: str, name: str) -> None:
    assert shared.ask(get(name, path)).status == 404


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd", "a/b", "a%00.test", "a\0.test", "a b.test", " ", "x" * 1024, "a." * 500 + "test", "a@b",
        "u:p@b",
        "a,b", "a;b", "[::1", "::1]", "[::1]x", "[v1.x]", "a.test:99999", "a.test:-1", "a.test:1:2", "a.test:x",
        "a..test", ".test",
        "<script>", "${jndi:x}", "{a}", "$(id)", "`id`", "a'b", 'a"b', "a\\b", "a|b",
        "*", "*.test", "\u00e9.test", "a?b", "a#b", "%2e%2e",
    ],
)  # fmt: skip
def test_s63_a_host_that_is_no_name_gets_400(shared: Proxy, backend: Make, host: str, name: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address)
    before = sorted(file.name for file in shared.folder.iterdir())
    for request in (
        f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {name}.{host}\r\n\r\n" if not re.search(r"[\[\]:]", name) else "",
    ):
        # "*" and "." before a good name are bad as well; a name that only is too long is, too.
        if request.strip():
            response = shared.ask(request.encode())
            assert response.status == 400, request
            assert name.strip() not in response.text or not name.strip()
    assert app.requests == []
    assert sorted(file.name for file in shared.folder.iterdir()) == before


def test_s63_unknown_hosts_leave_no_trace_in_the_figures(start: Callable[..., Proxy], backend: Make, host: str) -> None:
    proxy = start()
    proxy.route(host, backend(ok(b"x")).address)
    for number in range(300):
        assert proxy.ask(get(f"unknown-{number}.test")).status == 404
    assert proxy.ask(get(host)).text == "x"
    with proxy.state() as state:
        tables = {name for (name,) in state.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in tables & {"traffic", "minutes"}:
            assert {name for (name,) in state.execute(f"SELECT host FROM {table}")} <= {host}
    assert b"unknown-" not in proxy.state_path.read_bytes()
    assert proxy.log.count("unknown-") == 0


@pytest.mark.parametrize("field", ORDERS)
def test_s64_a_backend_s_orders_are_no_orders(shared: Proxy, backend: Make, host: str, field: str) -> None:
    shared.route(host, backend(ok(b"mine", field, "Set-Cookie: session=x; Domain=panel.test")).address)
    response = shared.ask(get(host))
    assert (response.status, response.text) == (200, "mine")
    assert response.one("set-cookie") == "session=x; Domain=panel.test"


@pytest.mark.parametrize(
    "head",
    [
        OK + b"X: a\rSet-Cookie: evil=1\r\n",
        OK + b"X: a\0b\r\n",
        OK + b"X: a\x0bb\r\n",
        OK + b"X: a\x7fb\r\n",
        OK + b"X\rY: a\r\n",
        OK + b"X Y: a\r\n",
        OK + b"X : a\r\n",
        OK + b"\xff\xfe: a\r\n",
        b"HTTP/1.1 200 O\rK\r\n",
        b"HTTP/1.1 200 O\0K\r\n",
    ],
)
def test_s64_a_bad_field_gives_502(shared: Proxy, backend: Make, host: str, head: bytes) -> None:
    shared.route(host, backend(head + b"Content-Length: 1\r\n\r\nx").address)
    response = shared.ask(get(host))
    assert response.status == 502
    assert response.all("set-cookie") == []


def test_s64_a_folded_field_never_arrives_folded(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(OK + b"X: a\r\n Set-Cookie: evil=1\r\nContent-Length: 1\r\n\r\nx").address)
    response = shared.ask(get(host))
    assert response.status == 502 or response.one("x") == "a Set-Cookie: evil=1"
    assert response.all("set-cookie") == []


@pytest.mark.parametrize(
    ("fields", "switch"),
    [
        ((), "Connection: Upgrade\r\nUpgrade: websocket"),
        ((), ""),
        (("Connection: Upgrade", "Upgrade: h2c"), "Connection: Upgrade\r\nUpgrade: h2c"),
        (("Connection: Upgrade", "Upgrade: websocket"), "Connection: Upgrade\r\nUpgrade: h2c"),
        (("Connection: Upgrade", "Upgrade: websocket"), ""),
        (("Upgrade: websocket",), "Connection: Upgrade\r\nUpgrade: websocket"),
    ],
)
def test_s64_a_101_that_nobody_asked_for_gives_502(
    shared: Proxy, backend: Make, host: str, fields: tuple[str, ...], switch: str
) -> None:
    def answer(_request: Message, wire: Wire) -> None:
        wire.send(f"HTTP/1.1 101 Switching Protocols\r\n{switch}\r\n\r\n".replace("\r\n\r\n\r\n", "\r\n\r\n").encode())
        wire.rest()

    shared.route(host, backend(answer).address)
    with shared.connect() as wire:
        wire.send(get(host, "/", *fields))
        assert wire.response().status == 502
