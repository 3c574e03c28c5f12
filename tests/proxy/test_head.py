"""Heads as a whole: what is remembered of them, and what a backend gets."""

from proxy.head import RequestParser, parse_request


def test_a_request_is_read_and_hop_by_hop_fields_dropped() -> None:
    request = parse_request(
        b"POST /a?b HTTP/1.1\r\nHost: App.Example:8000\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"
        b"Upgrade: h2c\r\nContent-Length: 3\r\nX-Kept: caf\xc3\xa9"
    )
    assert (request.host, request.path, request.length, request.is_chunked) == (b"app.example", b"/a", 3, False)
    assert not request.keeps_alive
    assert not request.upgrade
    assert request.end_to_end_lines() == b"Host: App.Example:8000\r\nX-Kept: caf\xc3\xa9\r\nContent-Length: 3\r\n"


def test_nobody_drops_what_framing_and_routing_rest_on() -> None:
    request = parse_request(
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: host, content-length, x-forwarded-for\r\nContent-Length: 1"
    )
    assert request.lines() == (b'Host: a\r\nContent-Length: 1\r\nX-Forwarded-Host: a\r\nForwarded: host="a";')


def test_the_same_fields_are_parsed_once_and_the_first_line_each_time() -> None:
    parser = RequestParser()
    first = parser.parse(b"GET /1 HTTP/1.1\r\nHost: a")
    second = parser.parse(b"POST /2 HTTP/1.0\r\nHost: a")
    assert first.fields is second.fields
    assert (second.method, second.target, second.keeps_alive) == (b"POST", b"/2", False)


def test_what_is_remembered_is_bounded() -> None:
    parser = RequestParser()
    for number in range(2000):
        parser.parse(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: %d" % number)
    assert len(parser._remembered) <= 512
