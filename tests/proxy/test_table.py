"""Which route a request takes, what its backend is told of the client, and what error pages say."""

import pytest

from proxy import pages
from proxy.backends import Backends
from proxy.fields import Field, split_lines
from proxy.forwarded import Forwarder
from proxy.head import parse_request
from proxy.limits import Limits
from proxy.policies.base import Answer
from proxy.route import RouteCompiler
from proxy.table import RouteTable, changed_texts


def compiler() -> RouteCompiler:
    return RouteCompiler(Backends(30), Limits())


def table(*routes: tuple[str, str]) -> RouteTable:
    rows = [(host, prefix, '[{"address":"127.0.0.1:1","weight":1}]{}') for host, prefix in routes]
    return RouteTable(changed_texts({}, rows, []), compiler().compile)


TABLE = table(
    ("a.test", "/"),
    ("a.test", "/api"),
    ("a.test", "/api/v2/"),
    ("*.a.test", "/"),
    ("x.a.test", "/"),
    ("UPPER.test", "/"),
)
WITH_DEFAULT = table(("a.test", "/"), ("*", "/"))


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
    route = TABLE.match(host.encode(), path.encode())
    wanted = found and (found[0].lower(), found[1].rstrip("/").encode())
    assert (route and (route.host, route.prefix)) == wanted


@pytest.mark.parametrize(("host", "found"), [("a.test", "a.test"), ("b.test", "*"), ("", "*")])
def test_the_default_route_takes_what_is_left(host: str, found: str) -> None:
    route = WITH_DEFAULT.match(host.encode(), b"/")
    assert route is not None
    assert route.host == found


ONE, TWO, THREE = "127.0.0.1:1", "127.0.0.1:2", "[::1]:3"


def several(policy: str = "{}") -> str:
    return f'[{{"address":"{ONE}"}},{{"address":"{TWO}","weight":3}},{{"address":"{THREE}"}}]{policy}'


def test_backends_take_turns_by_weight() -> None:
    route = compiler().compile("a.test", "/", several())
    firsts = [route.order()[0].address for _ in range(10)]
    assert sorted(firsts) == [ONE] * 2 + [TWO] * 6 + [THREE] * 2
    assert {backend.address for backend in route.order()} == {ONE, TWO, THREE}


def test_the_one_with_the_least_in_flight_comes_first() -> None:
    route = compiler().compile("a.test", "/", several('{"balance":"least_in_flight"}'))
    one, two, three = route.backends
    one.in_flight, two.in_flight, three.in_flight = 2, 0, 1
    assert [backend.address for backend in route.order()] == [TWO, THREE, ONE]


def test_backends_that_fail_come_last_until_one_answers() -> None:
    route = compiler().compile("a.test", "/", several())
    one = route.backends[0]
    for _ in range(3):
        one.note_failure()
    assert all(route.order()[-1] is one for _ in range(5))
    one.note_success()
    assert {route.order()[0] for _ in range(5)} == set(route.backends)


def test_a_backend_that_is_no_address_is_left_out() -> None:
    route = compiler().compile("a.test", "/", '[{"address":"nonsense"},{"address":"127.0.0.1:1"}]{}')
    assert [backend.address for backend in route.backends] == [ONE]


def test_a_new_table_keeps_what_did_not_change() -> None:
    made = compiler()
    rows = [(host, "/", f'[{{"address":"{ONE}"}}]{{}}') for host in ("a.test", "b.test")]
    before = RouteTable(changed_texts({}, rows, []), made.compile)
    kept, changed = before.match(b"a.test", b"/"), before.match(b"b.test", b"/")
    news = [("b.test", "/", f'[{{"address":"{TWO}"}}]{{}}')]
    after = RouteTable(changed_texts(before.texts, news, []), made.compile)
    after.succeed(before)
    assert after.match(b"a.test", b"/") is kept
    new = after.match(b"b.test", b"/")
    assert new is not changed
    assert new is not None
    assert [backend.address for backend in new.backends] == [TWO]


def test_changes_touch_their_own_prefix_only() -> None:
    texts = changed_texts({}, [("a.test", "/", "1"), ("a.test", "/x", "2"), ("b.test", "/y", "3")], [])
    assert texts == {b"a.test": (("/", "1"), ("/x", "2")), b"b.test": (("/y", "3"),)}
    assert changed_texts(texts, [("a.test", "/x", "4")], [("b.test", "/y")]) == {b"a.test": (("/", "1"), ("/x", "4"))}
    assert changed_texts(texts, [], [("a.test", "/x")])[b"a.test"] == "1"
    assert changed_texts(texts, [], [("none.test", "/")]) == texts


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


def told(claims: list[Field], peer: str, is_tls: bool = False) -> list[Field]:
    """The fields that a backend gets, but for Host."""
    block = b"".join(b"\r\n%s: %s" % field for field in claims)
    request = parse_request(b"GET / HTTP/1.1\r\nHost: a.test" + block)
    return split_lines(Forwarder(["10.0.0.0/8"]).lines(request, peer, is_tls).removesuffix(b"\r\n"))[1:]


def test_a_strangers_claims_are_replaced() -> None:
    assert sorted(told(CLAIMS, "9.9.9.9")) == [
        (b"Forwarded", b'host="a.test";proto=http;for=9.9.9.9'),
        (b"X-Forwarded-For", b"9.9.9.9"),
        (b"X-Forwarded-Host", b"a.test"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Other", b"kept"),
    ]


def test_an_ipv6_address_is_quoted_where_it_must_be() -> None:
    fields = dict(told([], "2001:db8::1", is_tls=True))
    assert fields[b"Forwarded"] == b'host="a.test";proto=https;for="[2001:db8::1]"'
    assert fields[b"X-Forwarded-For"] == b"2001:db8::1"


def test_a_trusted_proxys_claims_are_kept() -> None:
    fields = dict(told(CLAIMS, "10.1.2.3"))
    assert fields[b"X-Forwarded-For"] == b"1.1.1.1, 10.1.2.3"
    assert (fields[b"X-Forwarded-Proto"], fields[b"X-Forwarded-Host"]) == (b"https", b"evil.test")
    assert fields[b"Forwarded"] == b"for=1.1.1.1, for=10.1.2.3;proto=http"
    assert fields[b"X-Real-IP"] == b"1.1.1.1"
    # An alias that some backends read as the same name is never a proxy's word.
    assert b"X_Forwarded_For" not in fields


def test_two_fields_of_a_trusted_proxy_become_one() -> None:
    fields = dict(told([(b"X-Forwarded-For", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2")], "10.0.0.1"))
    assert fields[b"X-Forwarded-For"] == b"1.1.1.1, 2.2.2.2, 10.0.0.1"


@pytest.mark.parametrize(
    ("claimed", "client"),
    [
        (b"1.1.1.1", "1.1.1.1"),
        (b"6.6.6.6, 1.1.1.1, 10.0.0.7", "1.1.1.1"),
        (b"nonsense, 10.0.0.7", "10.0.0.7"),
        (b"10.0.0.8", "10.0.0.8"),
        (b"::ffff:1.1.1.1", "1.1.1.1"),
    ],
)
def test_the_client_is_the_nearest_one_that_is_not_trusted(claimed: bytes, client: str) -> None:
    request = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + claimed)
    assert Forwarder(["10.0.0.0/8"]).client(request, "10.0.0.1") == client
    assert Forwarder(["10.0.0.0/8"]).client(request, "9.9.9.9") == "9.9.9.9"


def test_an_error_page_escapes_what_it_shows() -> None:
    answer = Answer(404, *pages.unknown_host("<script>alert(1)</script>"))
    head, body = pages.render(answer, as_html=True)
    assert b"<script>" not in body
    assert b"&lt;script&gt;" in body
    assert b"color-scheme:light dark" in body
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert b"Cache-Control: no-store" in head


def test_an_error_in_plain_text_is_a_sentence() -> None:
    head, body = pages.render(Answer(502, *pages.NO_ANSWER), as_html=False)
    assert b"text/plain" in head
    assert b"<" not in body
    assert body.endswith(b".\n")
