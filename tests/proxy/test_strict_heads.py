"""Which request and response heads are taken, and as what; the pure parser, no connection."""

import pytest

from proxy.fields import Malformed
from proxy.head import Refused, parse_request
from proxy.response import ResponseParser

MAX_FIELDS = 200


def head(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("latin-1")


GET = ("GET / HTTP/1.1", "Host: a.test")
POST = ("POST / HTTP/1.1", "Host: a.test")


@pytest.mark.parametrize(
    ("lines", "host", "path", "target"),
    [
        (GET, "a.test", "/", b"/"),
        (("GET /x?y=%2f HTTP/1.1", "Host: A.Test"), "a.test", "/x", b"/x?y=%2f"),
        (("GET / HTTP/1.1", "Host: a.test:8080"), "a.test", "/", b"/"),
        (("GET / HTTP/1.1", "Host: a.test:"), "a.test", "/", b"/"),
        (("GET / HTTP/1.1", "Host: a.test."), "a.test", "/", b"/"),
        (("GET / HTTP/1.1", "Host: my_app.a-b.test"), "my_app.a-b.test", "/", b"/"),
        (("GET / HTTP/1.1", "Host: 10.0.0.1"), "10.0.0.1", "/", b"/"),
        (("GET / HTTP/1.1", "Host: [::1]:80"), "[::1]", "/", b"/"),
        (("GET http://b.test:81/x HTTP/1.1", "Host: b.test:81"), "b.test", "/x", b"/x"),
        (("GET http://b.test?x HTTP/1.1", "Host: b.test"), "b.test", "/", b"/?x"),
        (("GET HTTPS://b.test HTTP/1.1", "Host: B.test"), "b.test", "/", b"/"),
        (("OPTIONS * HTTP/1.1", "Host: a.test"), "a.test", "*", b"*"),
        (("OPTIONS http://b.test HTTP/1.1", "Host: b.test"), "b.test", "*", b"*"),
        (("GET / HTTP/1.0",), "", "/", b"/"),
        (("GET //x/../y HTTP/1.1", "Host: a.test"), "a.test", "//x/../y", b"//x/../y"),
    ],
)
def test_where_a_request_goes(lines: tuple[str, ...], host: str, path: str, target: bytes) -> None:
    request = parse_request(head(*lines))
    assert (request.host.decode(), request.path.decode(), request.target) == (host, path, target)


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        # The request line
        (400, ("",)),
        (400, ("GET",)),
        (400, ("GET / ", "Host: a.test")),
        (400, ("GET  / HTTP/1.1", "Host: a.test")),
        (400, ("GET / HTTP/1.1 ", "Host: a.test")),
        (400, (" GET / HTTP/1.1", "Host: a.test")),
        (400, ("GET\t/ HTTP/1.1", "Host: a.test")),
        (400, ("GET / http/1.1", "Host: a.test")),
        (400, ("GET / HTTP/1.10", "Host: a.test")),
        (400, ("G@T / HTTP/1.1", "Host: a.test")),
        (400, ("GET /\x7f HTTP/1.1", "Host: a.test")),
        (400, ("GET /é HTTP/1.1", "Host: a.test")),
        (400, ("GET /#x HTTP/1.1", "Host: a.test")),
        (400, ("GET x HTTP/1.1", "Host: a.test")),
        (400, ("GET * HTTP/1.1", "Host: a.test")),
        (400, ("GET ftp://a.test/ HTTP/1.1", "Host: a.test")),
        (400, ("GET http://user@a.test/ HTTP/1.1", "Host: a.test")),
        (400, ("GET http:///x HTTP/1.1", "Host: a.test")),
        (400, ("GET http://b.test/ HTTP/1.1", "Host: a.test")),
        (405, ("CONNECT a.test:443 HTTP/1.1", "Host: a.test")),
        (405, ("TRACE / HTTP/1.1", "Host: a.test")),
        (505, ("GET / HTTP/2.0", "Host: a.test")),
        (505, ("GET / HTTP/0.9",)),
        (505, ("GET / HTTP/1.2", "Host: a.test")),
        (414, (f"GET /{'x' * 17000} HTTP/1.1", "Host: a.test")),
        (431, (*GET, *(f"X: {number}" for number in range(MAX_FIELDS)))),
        # Line ends and control bytes
        (400, ("GET / HTTP/1.1\nHost: a.test",)),
        (400, (*GET, "X: a\nY: b")),
        (400, (*GET, "X: a\rY: b")),
        (400, (*GET, "X: a\0b")),
        (400, (*GET, "X: a\x0bb")),
        (400, (*GET, "X: a\x7f")),
        # Fields
        (400, (*GET, " X: folded")),
        (400, (*GET, "X: a", "\tfolded")),
        (400, (*GET, "X : a")),
        (400, (*GET, ": a")),
        (400, (*GET, "no colon")),
        (400, (*GET, "X\x00Y: a")),
        (400, (*GET, "X(Y): a")),
        (400, (*GET, "É: a")),
        # Host
        (400, ("GET / HTTP/1.1",)),
        (400, ("GET http://a.test/ HTTP/1.1",)),
        (400, (*GET, "Host: a.test")),
        (400, (*GET, "host: b.test")),
        *((400, ("GET / HTTP/1.1", f"Host: {bad}")) for bad in (
            "", " ", "a b", "a@b", "a,b", "a/b", "../x", "a%00", "a..b", ".a", ".", "a..", "[::1", "[::zz]", "[]",
            "::1", "a:b", "a:99999", "a:-1", "a:80:80", "é.test", "x" * 254, "a?b", "a#b", "a;b", "(a)", "a*b",
        )),
        # Framing
        (400, (*POST, "Content-Length: 1", "Transfer-Encoding: chunked")),
        (400, (*POST, "Content-Length: 1", "Content-Length: 1")),
        (400, (*POST, "Content-Length: 1", "Content-Length: 2")),
        *((400, (*POST, f"Content-Length: {bad}")) for bad in (
            "", "+1", "-1", "1, 1", "0x1", "1_0", "1.0", "1 1", "x", "9" * 19, "١",
        ) if bad.isascii()),
        *((400, (*POST, f"Transfer-Encoding: {bad}")) for bad in (
            "", "gzip", "identity", "chunked, chunked", "chunked, identity", "xchunked", "chunked;q=1", '"chunked"',
            "chunked,", ", chunked",
        )),
        (501, (*POST, "Transfer-Encoding: gzip, chunked")),
        (400, (*POST, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")),
        (501, (*POST, "Transfer-Encoding: gzip", "Transfer-Encoding: chunked")),
        (400, ("POST / HTTP/1.0", "Host: a.test", "Transfer-Encoding: chunked")),
        (417, (*POST, "Expect: 200-ok")),
    ],
)  # fmt: skip
def test_refused(status: int, lines: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as refused:
        parse_request(head(*lines))
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("fields", "length", "is_chunked"),
    [
        ((), 0, False),
        (("Content-Length: 0",), 0, False),
        (("content-length:\t12 ",), 12, False),
        (("Content-Length: 0012",), 12, False),
        (("Transfer-Encoding: chunked",), 0, True),
        (("TRANSFER-ENCODING: Chunked",), 0, True),
    ],
)
def test_where_a_request_body_ends(fields: tuple[str, ...], length: int, is_chunked: bool) -> None:
    request = parse_request(head(*POST, *fields))
    assert (request.length, request.is_chunked) == (length, is_chunked)


@pytest.mark.parametrize(
    ("lines", "keeps"),
    [
        (GET, True),
        ((*GET, "Connection: close"), False),
        ((*GET, "Connection: keep-alive, Close"), False),
        ((*GET, "Connection: x", "Connection: close"), False),
        (("GET / HTTP/1.0", "Host: a.test"), False),
        (("GET / HTTP/1.0", "Host: a.test", "Connection: Keep-Alive"), True),
    ],
)
def test_whether_the_connection_goes_on(lines: tuple[str, ...], keeps: bool) -> None:
    assert parse_request(head(*lines)).keeps_alive is keeps


def test_hop_by_hop_fields_stay_here() -> None:
    request = parse_request(
        head(
            *GET,
            "Connection: close, X-Mine, Cookie",
            "X-Mine: 1",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic eA==",
            "Proxy: http://evil.test",
            "TE: gzip",
            "Trailer: X-Sum",
            "Upgrade: h2c",
            "HTTP2-Settings: x",
            "Cookie: a=b",
            "X-Theirs: 2",
        )
    )
    assert [name for name, _ in request.fields.block.fields] == [b"Trailer", b"Cookie", b"X-Theirs"]


@pytest.mark.parametrize(
    ("lines", "upgrades"),
    [
        ((*GET, "Connection: keep-alive, Upgrade", "Upgrade: WebSocket"), True),
        ((*GET, "Upgrade: websocket"), False),
        ((*GET, "Connection: upgrade", "Upgrade: other/1"), True),
        *(
            ((*GET, "Connection: upgrade", f"Upgrade: {bad}"), False)
            for bad in ("h2c", "H2", "HTTP/2.0", "TLS/1.2", "a b", "")
        ),
        ((*GET, "Connection: upgrade", "Upgrade: websocket, h2c"), False),
        ((*POST, "Connection: upgrade", "Upgrade: websocket"), False),
        (("GET / HTTP/1.0", "Host: a.test", "Connection: upgrade", "Upgrade: websocket"), False),
        ((*GET, "Connection: upgrade", "Upgrade: websocket", "Content-Length: 3"), False),
        ((*GET, "Connection: upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked"), False),
    ],
)
def test_what_asks_for_a_tunnel(lines: tuple[str, ...], upgrades: bool) -> None:
    assert bool(parse_request(head(*lines)).upgrade) is upgrades


@pytest.mark.parametrize(
    ("lines", "length", "is_chunked"),
    [
        (("HTTP/1.1 200 OK", "Content-Length: 5"), 5, False),
        (("HTTP/1.1 200",), None, False),
        (("HTTP/1.0 200 OK",), None, False),
        (("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5"), 5, False),
        (("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), None, True),
    ],
)
def test_where_a_response_body_ends(lines: tuple[str, ...], length: int | None, is_chunked: bool) -> None:
    response = ResponseParser().parse(head(*lines))
    assert (response.length, response.is_chunked) == (length, is_chunked)


@pytest.mark.parametrize(
    ("lines", "is_verbatim"),
    [
        (("HTTP/1.1 200 OK", "Content-Length: 5", "X: 1"), True),
        (("HTTP/1.1 200 OK", "X: 1", "Content-Length: 5"), True),
        (("HTTP/1.1 200 OK", "Content-Length: 05"), False),
        (("HTTP/1.1 200 OK", "Content-Length: 5", "Connection: keep-alive"), False),
        (("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5"), False),
        (("HTTP/1.0 200 OK", "Content-Length: 5"), False),
    ],
)
def test_what_may_go_on_as_it_came(lines: tuple[str, ...], is_verbatim: bool) -> None:
    assert ResponseParser().parse(head(*lines)).is_verbatim is is_verbatim


@pytest.mark.parametrize(
    "lines",
    [
        ("",),
        ("hello",),
        ("HTTP/2 200 OK",),
        ("HTTP/1.1 20 OK",),
        ("HTTP/1.1 2000 OK",),
        ("HTTP/1.1  200 OK",),
        ("HTTP/1.1 200 OK", "X: a\rb"),
        ("HTTP/1.1 200 OK", "X: a\0b"),
        ("HTTP/1.1 200 OK", " folded"),
        ("HTTP/1.1 200 OK", "X : a"),
        ("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 6"),
        ("HTTP/1.1 200 OK", "Content-Length: -1"),
        ("HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked"),
        ("HTTP/1.1 200 OK", "Transfer-Encoding: gzip"),
        ("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    ],
)
def test_malformed_responses(lines: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        ResponseParser().parse(head(*lines))
