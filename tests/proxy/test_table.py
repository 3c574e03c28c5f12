"""Which route a request takes, what its backend is told of the client, and what error pages say."""

import pytest

from proxy import pages
from proxy.backends import Backends
from proxy.contract import Backend, Route, Snapshot
from proxy.forwarded import Forwarder
from proxy.table import RouteTable

TABLE = RouteTable(
    Snapshot(
        routes=(
            Route("a.test"),
            Route("a.test", "/api"),
            Route("a.test", "/api/v2/"),
            Route("*.a.test"),
            Route("x.a.test"),
            Route("UPPER.test"),
        )
    )
)
WITH_DEFAULT = RouteTable(Snapshot(routes=(Route("a.test"), Route("*"))))


@pytest.mark.parametrize(
    ("host", "path", "found"),
    [
        ("a.test", "/", ("a.test", "/")),
        ("a.test", "/api", ("a.test", "/api")),
        ("a.test", "/api/", ("a.test", "/api")),
        ("a.test", "/api/x", ("a.test", "/api")),
        ("a.test", "/apix", ("a.test", "/")),
        ("a.test", "/API", ("a.test", "/")),
        ("a.test", "/api/v2", ("a.test", "/api/v2/")),
        ("a.test", "/api/v2/x", ("a.test", "/api/v2/")),
        ("a.test", "/api/v20", ("a.test", "/api")),
        ("a.test", "*", ("a.test", "/")),
        ("x.a.test", "/", ("x.a.test", "/")),
        ("y.a.test", "/", ("*.a.test", "/")),
        ("z.y.a.test", "/", None),
        ("upper.test", "/", ("UPPER.test", "/")),
        ("b.test", "/", None),
        ("test", "/", None),
        ("", "/", None),
    ],
)
def test_match(host: str, path: str, found: tuple[str, str] | None) -> None:
    route = TABLE.match(host, path)
    assert (route and (route.host, route.path_prefix)) == found


@pytest.mark.parametrize(("host", "found"), [("a.test", "a.test"), ("b.test", "*"), ("", "*")])
def test_the_default_route_takes_what_is_left(host: str, found: str) -> None:
    route = WITH_DEFAULT.match(host, "/")
    assert route is not None
    assert route.host == found


def test_backends_take_turns_by_weight() -> None:
    backends = Backends(30)
    route = Route("a.test", "/", (Backend("one", 1), Backend("two", 3)))
    firsts = [backends.order(route)[0].address for _ in range(8)]
    assert sorted(firsts) == ["one"] * 2 + ["two"] * 6
    assert {backend.address for backend in backends.order(route)} == {"one", "two"}


CLAIMS = [
    (b"X-Forwarded-For", b"1.1.1.1"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", b"evil.test"),
    (b"X-Forwarded-Prefix", b"/x"),
    (b"Forwarded", b"for=1.1.1.1"),
    (b"X-Real-IP", b"1.1.1.1"),
    (b"X_Forwarded_For", b"2.2.2.2"),
    (b"x_real-ip", b"2.2.2.2"),
    (b"X-Other", b"kept"),
]
OURS = [(b"X-Forwarded-For", b"9.9.9.9"), (b"X-Forwarded-Proto", b"http"), (b"X-Forwarded-Host", b"a.test")]


def test_a_strangers_claims_are_replaced() -> None:
    fields = Forwarder(["10.0.0.0/8"]).rewrite(CLAIMS, "9.9.9.9", b"http", b"a.test")
    assert fields == [(b"X-Other", b"kept"), *OURS]


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_trusted_proxys_claims_are_kept(peer: str) -> None:
    fields = dict(Forwarder(["10.0.0.0/8"]).rewrite(CLAIMS, peer, b"http", b"a.test"))
    assert fields[b"X-Forwarded-For"] == b"1.1.1.1, " + peer.encode()
    assert (fields[b"X-Forwarded-Proto"], fields[b"X-Forwarded-Host"]) == (b"https", b"evil.test")
    assert fields[b"Forwarded"] == b"for=1.1.1.1"
    assert fields[b"X-Real-IP"] == b"1.1.1.1"
    # An alias that some backends read as the same name is never a proxy's word.
    assert b"X_Forwarded_For" not in fields


def test_two_fields_of_a_trusted_proxy_become_one() -> None:
    given = [(b"X-Forwarded-For", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2")]
    fields = Forwarder(["10.0.0.0/8"]).rewrite(given, "10.0.0.1", b"http", b"a.test")
    assert fields[0] == (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2, 10.0.0.1")


def test_an_error_page_escapes_what_it_shows() -> None:
    head, body = pages.answer(404, *pages.unknown_host("<script>alert(1)</script>"), as_html=True)
    assert b"<script>" not in body
    assert b"&lt;script&gt;" in body
    assert b"color-scheme:light dark" in body
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert b"Cache-Control: no-store" in head


def test_an_error_in_plain_text_is_a_sentence() -> None:
    head, body = pages.answer(502, *pages.NO_ANSWER, as_html=False)
    assert b"text/plain" in head
    assert b"<" not in body
    assert body.endswith(b".\n")
