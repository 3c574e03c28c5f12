"""What a route's policy does to requests, seen from outside the real process."""

import json
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.instance import free_port, wait_for
from tests.proxy.process import Proxy, running, tls_options
from tests.proxy.test_serving import certificate
from tests.proxy.wire import Backend, Message, Wire, connect, get, ok

Make = Callable[..., Backend]
# The password `pä$$` (docs/proxy-policies.md).
HASHED = "scrypt$4096$8$1$AAECAwQFBgcICQoLDA0ODw==$ZCm/Mh+2Ve4u1E0RQ4LREK8c8BmvsjqUZeilYs56HZo="
PAUSED = {"paused": {"limit_seconds": 20}}


@pytest.fixture(scope="module")
def fronted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that speaks TLS too and believes what comes from this machine."""
    folder = tmp_path_factory.mktemp("fronted")
    tls_port = free_port()
    files = certificate(folder, "default.test")
    with running(folder, "--trusted-proxy", "127.0.0.0/8", *tls_options(tls_port, *files)) as proxy:
        proxy.tls_port = tls_port
        yield proxy


def over_tls(proxy: Proxy, request: bytes) -> Message:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(proxy.tls_port, context, "default.test") as wire:
        wire.send(request)
        return wire.response()


def counted(request: Message, _wire: Wire) -> bytes:
    """An app that says what it was asked for."""
    return ok(request.line.split(" ")[1].encode())


# paused


def test_requests_wait_while_paused_and_go_on_in_order(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(counted)
    shared.route(host, app.address, policy=PAUSED)
    with shared.connect() as wire, shared.connect() as other:
        wire.send(get(host, "/1") + get(host, "/2"))
        other.send(get(host, "/other", "Content-Length: 5", method="POST") + b"hello")
        wire.send(get(host, "/3"))
        time.sleep(0.2)
        assert app.requests == []
        shared.route(host, app.address)
        assert [wire.response().text for _ in range(3)] == ["/1", "/2", "/3"]
        assert other.response().text == "/other"
    assert sorted(request.body for request in app.requests) == [b"", b"", b"", b"hello"]


def test_who_waits_is_served_by_the_backends_of_then(shared: Proxy, backend: Make, host: str) -> None:
    old, new = backend(ok(b"old")), backend(ok(b"new"))
    shared.route(host, old.address, policy=PAUSED)
    with shared.connect() as wire:
        wire.send(get(host))
        time.sleep(0.1)
        shared.route(host, old.address, policy={"paused": {"limit_seconds": 19}})
        shared.route(host, new.address)
        assert wire.response().text == "new"


def test_after_the_limit_who_waits_gets_503_and_is_served_on(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address, policy={"paused": {"limit_seconds": 0.5}})
    with shared.connect() as wire:
        wire.send(get(host))
        answer = wire.response()
        assert (answer.status, answer.one("retry-after").isdigit()) == (503, True)
        shared.route(host, app.address)
        wire.send(get(host))
        assert wire.response().text == "x"
    assert len(app.requests) == 1


def test_a_route_that_goes_while_paused_answers_503(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(ok(b"x")).address, policy=PAUSED)
    with shared.connect() as wire:
        wire.send(get(host))
        time.sleep(0.1)
        shared.unroute(host)
        assert wire.response().status == 503


@pytest.mark.parametrize("resets", [False, True])
def test_who_leaves_while_held_is_not_asked_for(shared: Proxy, backend: Make, host: str, resets: bool) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address, policy=PAUSED)
    before = shared.descriptors()
    wire = shared.connect()
    wire.send(get(host, "/", "Content-Length: 5", method="POST") + b"hello")
    wait_for(lambda: shared.descriptors() > before, what="the request to be held")
    wire.reset() if resets else wire.close()
    wait_for(lambda: shared.descriptors() <= before, 4, "the connection's end")
    shared.route(host, app.address)
    assert shared.ask(get(host)).text == "x"
    assert len(app.requests) == 1


def test_a_held_request_counts_once_for_the_rate_limit(shared: Proxy, backend: Make, host: str) -> None:
    limit = {"app": host, "rate_limit": {"requests": 2, "seconds": 3600}}
    app = backend(ok(b"x"))
    shared.route(host, app.address, policy=limit | PAUSED)
    with shared.connect() as wire:
        wire.send(get(host) * 2)
        time.sleep(0.1)
        shared.route(host, app.address, policy=limit)
        assert [wire.response().status for _ in range(2)] == [200, 200]
    assert shared.ask(get(host)).status == 429


# maintenance


def test_maintenance_says_the_owners_words_and_asks_nobody(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address, policy={"maintenance": {"message": "Back <soon>."}})
    plain, page = shared.ask(get(host)), shared.ask(get(host, "/", "Accept: text/html"))
    assert [answer.status for answer in (plain, page)] == [503, 503]
    assert int(plain.one("retry-after")) > 0
    assert "Back <soon>." in plain.text
    assert "Back &lt;soon&gt;." in page.text
    assert app.requests == []


def test_a_maintenance_page_may_be_the_owners_own(shared: Proxy, host: str) -> None:
    shared.route(host, policy={"maintenance": {"html": "<h1>Zurück um 12</h1>"}})
    answer = shared.ask(get(host))
    assert (answer.status, answer.text) == (503, "<h1>Zurück um 12</h1>")
    assert answer.one("content-type").startswith("text/html")
    head = shared.ask(get(host, method="HEAD"), has_body=False)
    assert (head.status, head.one("content-length")) == (503, answer.one("content-length"))


# elsewhere


@pytest.mark.parametrize(
    ("rule", "path", "status", "location"),
    [
        ({"from": "/old", "to": "https://x.test/new"}, "/old/a", 307, "https://x.test/new"),
        ({"from": "/old", "to": "/new", "status": 301, "keep_path": True}, "/old/a?b=c", 301, "/new/a?b=c"),
        ({"from": "/old", "to": "/new", "status": 308}, "/older", 200, None),
        ({"from": "/", "to": "https://x.test", "status": 302, "keep_path": True}, "/a", 302, "https://x.test/a"),
    ],
)
def test_redirects(
    shared: Proxy, backend: Make, host: str, rule: dict[str, Any], path: str, status: int, location: str | None
) -> None:
    shared.route(host, backend(ok(b"x")).address, policy={"redirects": [rule]})
    answer = shared.ask(get(host, path))
    assert (answer.status, answer.all("location")) == (status, [location] if location else [])


def test_a_redirected_upload_does_not_become_the_next_request(shared: Proxy, host: str) -> None:
    shared.route(host, policy={"redirects": [{"from": "/", "to": "https://x.test/"}]})
    smuggled = get(host, "/smuggled")
    with shared.connect() as wire:
        wire.send(get(host, "/", f"Content-Length: {len(smuggled)}", method="POST") + smuggled)
        assert wire.response().status == 307
        assert wire.has_ended()


def test_https_only_sends_plain_requests_to_https(fronted: Proxy, backend: Make, host: str) -> None:
    fronted.route(host, backend(ok(b"x")).address, policy={"https_only": True})
    fronted.challenge("token", "token.thumbprint")
    answer = fronted.ask(get(f"{host}:{fronted.port}", "/a?b=c"))
    assert (answer.status, answer.one("location")) == (308, f"https://{host}/a?b=c")
    assert fronted.ask(get(host, "/.well-known/acme-challenge/token")).text == "token.thumbprint"
    assert fronted.ask(get(host, "/.well-known/acme-challenge/other")).status == 308
    assert over_tls(fronted, get(host)).text == "x"
    assert fronted.ask(get(host, "/", "X-Forwarded-Proto: https")).text == "x", "TLS ended at the trusted proxy"


def test_https_only_believes_no_stranger(shared: Proxy, backend: Make, host: str) -> None:
    shared.route(host, backend(ok(b"x")).address, policy={"https_only": True})
    assert shared.ask(get(host, "/", "X-Forwarded-Proto: https")).status == 308


def test_other_hosts_of_the_route_go_to_the_canonical_one(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    for name in (host, f"www.{host}"):
        shared.route(name, app.address, policy={"canonical_host": host})
    answer = shared.ask(get(f"www.{host}", "/a?b"))
    assert (answer.status, answer.one("location")) == (308, f"http://{host}/a?b")
    assert shared.ask(get(host)).text == "x"


# who may


def test_basic_auth_lets_in_who_knows_the_password(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address, policy={"basic_auth": {"realm": "Staff", "users": {"ann": HASHED}}})

    def ask(credentials: str) -> Message:
        return shared.ask(get(host, "/", f"Authorization: Basic {b64encode(credentials.encode()).decode()}"))

    assert shared.ask(get(host)).one("www-authenticate").startswith('Basic realm="Staff"')
    assert [ask(wrong).status for wrong in ("ann:pa", "bob:pä$$", "ann")] == [401, 401, 401]
    assert app.requests == []
    assert ask("ann:pä$$").text == "x"
    assert app.requests[0].one("authorization").startswith("Basic ")


def test_allow_lets_in_its_networks_only(shared: Proxy, backend: Make, host: str) -> None:
    app = backend(ok(b"x"))
    shared.route(host, app.address, policy={"allow": ["10.0.0.0/8"]})
    # What a stranger says of itself counts for nothing.
    assert shared.ask(get(host, "/", "X-Forwarded-For: 10.0.0.1")).status == 403
    shared.route(host, app.address, policy={"allow": []})
    assert shared.ask(get(host)).status == 403
    assert app.requests == []
    shared.route(host, app.address, policy={"allow": ["::ffff:127.0.0.0/104"]})
    assert shared.ask(get(host)).text == "x"


@pytest.mark.parametrize(
    ("address", "status"), [("::ffff:10.1.2.3", 200), ("10.1.2.3", 200), ("::ffff:11.1.2.3", 403), ("2001:db8::1", 403)]
)
def test_allow_sees_ipv4_in_ipv6_clothes(fronted: Proxy, backend: Make, host: str, address: str, status: int) -> None:
    fronted.route(host, backend(ok(b"x")).address, policy={"allow": ["10.0.0.0/8"]})
    assert fronted.ask(get(host, "/", f"X-Forwarded-For: {address}")).status == status


def test_a_client_over_its_rate_gets_429_and_others_are_served(fronted: Proxy, backend: Make, host: str) -> None:
    fronted.route(host, backend(ok(b"x")).address, policy={"rate_limit": {"requests": 3, "seconds": 600}})

    def ask(client: str) -> Message:
        return fronted.ask(get(host, "/", f"X-Forwarded-For: {client}"))

    answers = [ask("10.0.0.1") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert 0 < int(answers[3].one("retry-after")) <= 200
    assert ask("10.0.0.2").text == "x"
    # A whole /64 is one client.
    assert [ask(f"2001:db8::{n}").status for n in range(1, 5)] == [200, 200, 200, 429]


def test_routes_of_one_app_share_a_rate_limit_that_outlives_a_deploy(shared: Proxy, backend: Make, host: str) -> None:
    policy = {"app": host, "rate_limit": {"requests": 2, "seconds": 600}}
    app = backend(ok(b"x"))
    shared.route(host, app.address, policy=policy)
    shared.route(f"www.{host}", app.address, policy=policy)
    assert shared.ask(get(host)).status == shared.ask(get(f"www.{host}")).status == 200
    shared.route(host, app.address, backend(ok(b"y")).address, policy=policy)
    assert shared.ask(get(host)).status == 429


def test_a_cookie_over_tls_is_for_tls_only(fronted: Proxy, backend: Make, host: str) -> None:
    fronted.route(host, backend(ok(b"x")).address, policy={"sticky": "at"})
    assert "; Secure" in over_tls(fronted, get(host)).one("set-cookie")
    assert "; Secure" in fronted.ask(get(host, "/", "X-Forwarded-Proto: https")).one("set-cookie")
    assert "; Secure" not in fronted.ask(get(host)).one("set-cookie")


# bad values


@pytest.mark.parametrize("key", ["allow", "basic_auth", "rate_limit", "paused", "maintenance"])
def test_a_bad_value_of_a_protecting_key_lets_nobody_in(shared: Proxy, backend: Make, host: str, key: str) -> None:
    app = backend(ok(b"x"))
    for number, value in enumerate((None, 5, "x", [5], True)):
        shared.route(host, app.address, policy={"app": f"{host}-{number}", key: value})
        assert shared.ask(get(host)).status == 503
        assert shared.log.count(f"Policy {key} of app '{host}-{number}'") == 1
    assert app.requests == []


@pytest.mark.parametrize(
    "policy",
    [
        {"redirects": 5, "canonical_host": "/", "https_only": "x", "response_headers": [], "compress": "x"},
        {"sticky": 5, "balance": "fair", "strip_prefix": "x", "max_body_bytes": "x", "first_byte_seconds": []},
        {"max_body_bytes": -1, "first_byte_seconds": -1, "health": 5, "app": [], "unavailable": 7, "unknown": 1},
        {"max_body_bytes": 10**400, "first_byte_seconds": 10**400, "sticky": "\u20ac"},
        {"max_body_bytes": float("inf"), "first_byte_seconds": float("inf")},
        {"max_body_bytes": float("nan"), "first_byte_seconds": float("nan")},
        {"health": {"interval": 10**400, "timeout": "x", "threshold": 1e999, "path": 5}},
    ],
    ids=lambda policy: json.dumps(policy)[:40],
)
def test_a_bad_value_of_another_key_is_left_out(
    shared: Proxy, backend: Make, host: str, policy: dict[str, Any]
) -> None:
    shared.route(host, backend(lambda request, _wire: ok(request.body)).address, policy=policy)
    with shared.connect() as wire:
        for _ in range(2):
            wire.send(get(host, "/a", "Content-Length: 5", method="POST") + b"hello")
            answer = wire.response()
            assert (answer.status, answer.text, answer.all("set-cookie")) == (200, "hello", [])
    assert "Traceback" not in shared.log


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", "a b", "a=b", "a;b", 'a"', ""])
def test_a_cookie_name_that_is_none_is_left_out(shared: Proxy, backend: Make, host: str, name: str) -> None:
    shared.route(host, backend(ok(b"x")).address, policy={"sticky": name})
    answer = shared.ask(get(host))
    assert (answer.text, answer.all("set-cookie"), answer.all("x-evil")) == ("x", [], [])
