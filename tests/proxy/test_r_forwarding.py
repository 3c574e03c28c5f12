"""What a backend is told of its client, and what a client may not make it believe (R22)."""

from collections.abc import Callable, Iterator

import pytest

from tests.proxy.process import Proxy, running
from tests.proxy.wire import Backend, Message, get, ok

Make = Callable[..., Backend]
Asked = Callable[..., Message]
SPOOFED = (
    "X-Forwarded-For: 9.9.9.9",
    "X-Forwarded-For: 8.8.8.8, 9.9.9.9",
    "x-forwarded-for: 7.7.7.7",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: 9.evil.test",
    "X-Forwarded-Port: 9",
    "X-Forwarded-Server: 9.evil.test",
    "X-Forwarded-Prefix: /9",
    "X-Forwarded-Ssl: 9",
    "X-Forwarded-Scheme: 9",
    "X-Forwarded-User: 9",
    "X-Real-IP: 9.9.9.9",
    "X-Real-Ip: 9.9.9.9",
    "Forwarded: for=9.9.9.9;proto=https;host=9.evil.test",
)
ALIASES = (
    "X_Forwarded_For: 9.9.9.9",
    "X-Forwarded_For: 9.9.9.9",
    "x_forwarded-for: 9.9.9.9",
    "X_Forwarded_Proto: 9",
    "X_Forwarded_Host: 9",
    "X_Real_IP: 9.9.9.9",
    "X_REAL-IP: 9.9.9.9",
    "X_Forwarded_Anything: 9",
)


@pytest.fixture
def asked(shared: Proxy, backend: Make, host: str) -> Asked:
    """Send a request with these fields; gives what the backend got."""
    app = backend(ok(b"x"))
    shared.route(host, app.address)

    def ask(*fields: str, method: str = "GET", body: bytes = b"") -> Message:
        assert shared.ask(get(host, "/", *fields, method=method) + body).text == "x"
        return app.requests[-1]

    return ask


def _truth(request: Message) -> None:
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.all("x-forwarded-proto") == ["http"]
    assert request.all("x-forwarded-host") == request.all("host")
    assert request.all("x-real-ip") in ([], ["127.0.0.1"])


def test_r22_a_backend_is_told_who_asks(asked: Asked, host: str) -> None:
    _truth(asked())
    assert asked().one("host") == host


@pytest.mark.parametrize("field", SPOOFED)
def test_r22_a_stranger_s_claims_are_replaced(asked: Asked, field: str) -> None:
    request = asked(field)
    _truth(request)
    name, _, value = field.partition(": ")
    assert value not in request.all(name.lower())


@pytest.mark.parametrize("field", ALIASES)
def test_r22_names_that_cgi_takes_for_ours_do_not_get_through(asked: Asked, field: str) -> None:
    request = asked(field)
    _truth(request)
    assert not [name for name, _ in request.fields if "_" in name]


@pytest.mark.parametrize("name", ["Proxy", "proxy", "PROXY"])
def test_r22_the_field_that_becomes_http_proxy_is_dropped(asked: Asked, name: str) -> None:
    assert asked(f"{name}: http://evil.test").all("proxy") == []


@pytest.mark.parametrize(
    "listed",
    ["X-Forwarded-For", "x-forwarded-for, X-Forwarded-Proto, x-forwarded-host, x-real-ip", "Host", "host, cookie"],
)
def test_r22_a_hop_by_hop_list_removes_nothing_of_ours(asked: Asked, host: str, listed: str) -> None:
    request = asked(f"Connection: close, {listed}", "Cookie: a=b", "Authorization: Basic eA==")
    _truth(request)
    assert request.one("host") == host
    assert request.one("authorization") == "Basic eA=="


def test_r22_a_hop_by_hop_list_does_not_remove_framing(asked: Asked) -> None:
    request = asked("Connection: content-length", "Content-Length: 5", method="POST", body=b"hello")
    assert request.body == b"hello"
    request = asked(
        "Connection: transfer-encoding", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n0\r\n\r\n"
    )
    assert request.body == b"hello"


def test_r22_hop_by_hop_fields_stay_on_their_hop(asked: Asked) -> None:
    request = asked(
        "Connection: X-Mine, keep-alive",
        "X-Mine: 1",
        "X-Theirs: 2",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eA==",
        "TE: trailers",
        "Upgrade: foo",
    )
    names = {name for name, _ in request.fields}
    assert "x-theirs" in names
    assert names.isdisjoint({"x-mine", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"})


def test_r22_other_fields_arrive_as_they_were(asked: Asked) -> None:
    sent = ("X-A: 1", "x-b:  two  words ", "X-A: 2", "Cookie: a=b; c", "X-Latin: caf\u00e9", "X-Empty:")
    request = asked(*sent)
    assert request.all("x-a") == ["1", "2"]
    assert request.one("x-b") == "two  words"
    assert request.one("cookie") == "a=b; c"
    assert request.one("x-latin").encode("latin-1").decode() == "caf\u00e9"
    assert request.one("x-empty") == ""


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running(tmp_path_factory.mktemp("trusting"), "--trusted-proxy", "127.0.0.0/8") as proxy:
        yield proxy


def test_r22_a_trusted_proxy_is_believed_and_added_to(trusting: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    trusting.route(host, app.address)
    claims = ("X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: outer.test")
    assert trusting.ask(get(host, "/", *claims)).text == "x"
    (request,) = app.requests
    assert request.one("x-forwarded-for") == "9.9.9.9, 127.0.0.1"
    assert request.one("x-forwarded-proto") == "https"
    assert request.one("x-forwarded-host") == "outer.test"


def test_r22_a_trusted_proxy_s_aliases_are_dropped_all_the_same(trusting: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    trusting.route(host, app.address)
    assert trusting.ask(get(host, "/", *ALIASES, "Proxy: x")).text == "x"
    assert not [name for name, _ in app.requests[0].fields if "_" in name or name == "proxy"]


def test_r22_someone_outside_the_trusted_networks_is_a_stranger(
    start: Callable[..., Proxy], backend: Make, host: str
) -> None:
    app = backend(ok(b"x"))
    proxy = start("--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "fd00::/8")
    proxy.route(host, app.address)
    assert proxy.ask(get(host, "/", *SPOOFED)).text == "x"
    _truth(app.requests[0])
