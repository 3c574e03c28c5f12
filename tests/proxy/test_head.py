"""What the proxy takes for a request, and what it refuses because peers could read it in two ways."""

import pytest

from proxy.contract import Backend, Route, Snapshot
from proxy.forwarded import Forwarder
from proxy.head import Malformed, Refused, parse_request, parse_response
from proxy.table import RouteTable


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        (b"GET / HTTP/1.1\r\nHost: a b", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b", 400),
        (b"GET / HTTP/1.1\r\nHost:", 400),
        (b"GET / HTTP/1.1\r\nHost: a:99999", 400),
        (b"GET / HTTP/1.1\r\nHost : a", 400),
        (b"GET / HTTP/1.1\r\n Host: a", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded: x", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nX: y", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon", 400),
        (b"GET  / HTTP/1.1\r\nHost: a", 400),
        (b"GET / HTTP/1.1 \r\nHost: a", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a", 400),
        (b"GET /#x HTTP/1.1\r\nHost: a", 400),
        (b"GET x HTTP/1.1\r\nHost: a", 400),
        (b"GET * HTTP/1.1\r\nHost: a", 400),
        (b"GET http://a@b/ HTTP/1.1\r\nHost: a", 400),
        (b"GET / HTTP/2.0\r\nHost: a", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a", 405),
        (b"TRACE / HTTP/1.1\r\nHost: a", 405),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked", 501),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a", 414),
        (b"GET / HTTP/1.1\r\nHost: a" + b"\r\nX: y" * 120, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: magic", 417),
    ],
)
def test_refused(head: bytes, status: int) -> None:
    with pytest.raises(Refused) as caught:
        parse_request(head)
    assert caught.value.status == status


def test_a_request_is_read_and_hop_by_hop_fields_dropped() -> None:
    request = parse_request(
        b"POST /a?b HTTP/1.1\r\nHost: App.Example:8000\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"
        b"Upgrade: h2c\r\nContent-Length: 3\r\nX-Kept: caf\xc3\xa9"
    )
    assert (request.host, request.path, request.length, request.is_chunked) == ("app.example", "/a", 3, False)
    assert not request.keeps_alive
    assert not request.is_websocket
    names = [name for name, _ in request.fields]
    assert names == [b"Host", b"Content-Length", b"X-Kept"]


def test_nobody_drops_what_framing_and_routing_rest_on() -> None:
    request = parse_request(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: host, content-length\r\nContent-Length: 1")
    assert [name for name, _ in request.fields] == [b"Host", b"Content-Length"]


@pytest.mark.parametrize(
    ("head", "host", "target"),
    [
        (b"GET http://B.example/x HTTP/1.1\r\nHost: a", "b.example", b"/x"),
        (b"GET http://b.example?x HTTP/1.1\r\nHost: a", "b.example", b"/?x"),
        (b"GET / HTTP/1.1\r\nHost: b.example.", "b.example", b"/"),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80", "[::1]", b"/"),
        (b"GET / HTTP/1.0", "", b"/"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a", "a", b"*"),
    ],
)
def test_where_a_request_goes(head: bytes, host: str, target: bytes) -> None:
    request = parse_request(head)
    assert (request.host, request.target) == (host, target)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 200 OK", b"200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 200 OK\r\nX: \x01",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip",
    ],
)  # fmt: skip
def test_answers_that_are_not_http(head: bytes) -> None:
    with pytest.raises(Malformed):
        parse_response(head, b"GET")


def test_how_long_an_answer_is() -> None:
    assert parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 5", b"GET").length == 5
    assert parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 5", b"HEAD").length == 0
    assert parse_response(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5", b"GET").length == 0
    assert parse_response(b"HTTP/1.1 200 OK", b"GET").length is None
    assert parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"GET").is_chunked


def test_routes_match_by_host_then_longest_prefix_of_whole_segments() -> None:
    def route(host: str, prefix: str, port: int) -> Route:
        return Route(host, prefix, (Backend(f"127.0.0.1:{port}"),))

    table = RouteTable(
        Snapshot(routes=(route("a.example", "/", 1), route("a.example", "/api", 2), route("*.example", "/", 3)))
    )

    def port(host: str, path: str) -> int | None:
        found = table.match(host, path)
        return int(found.backends[0].address.rpartition(":")[2]) if found else None

    assert [port("a.example", path) for path in ("/", "/api", "/api/x", "/apix")] == [1, 2, 2, 1]
    assert [port("b.example", "/"), port("c.b.example", "/"), port("other", "/")] == [3, None, None]


def test_forwarding_fields_are_believed_from_trusted_peers_only() -> None:
    claims = [(b"X-Forwarded-For", b"9.9.9.9"), (b"X-Forwarded-Proto", b"https"), (b"X-Real-IP", b"9.9.9.9")]
    forwarder = Forwarder(["10.0.0.0/8"])
    stranger = dict(forwarder.rewrite(claims, "1.2.3.4", b"http", b"a"))
    assert stranger == {b"X-Forwarded-For": b"1.2.3.4", b"X-Forwarded-Proto": b"http", b"X-Forwarded-Host": b"a"}
    trusted = dict(forwarder.rewrite(claims, "10.1.1.1", b"http", b"a"))
    assert trusted[b"X-Forwarded-For"] == b"9.9.9.9, 10.1.1.1"
    assert trusted[b"X-Forwarded-Proto"] == b"https"
