"""However bytes are cut into writes, they mean the same (R20, R24)."""

import functools
import itertools
import operator
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy import strict
from tests.proxy.process import Proxy
from tests.proxy.recorder import Recorders, send_in_pieces
from tests.proxy.wire import Backend, Message, Wire, get

PLAIN, SLOW = "split.test", "split-answers.test"
QUICKLY = settings(max_examples=40, deadline=None, derandomize=True, database=None)
LAST = get(PLAIN, "/last", "Connection: close")
EXTENDED = b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"
SEPARATORS = (b"\r", b"\n", b":", b" ", b";")

bodies = st.binary(max_size=60) | st.sampled_from(
    [b"", b"0\r\n\r\n", b"GET /x HTTP/1.1\r\n\r\n", b"\r\n" * 4, b"y" * 9000]
)


@functools.cache
def _fields() -> st.SearchStrategy[bytes]:
    some = [
        b"X-A: b\r\n",
        b"x-a:b\r\n",
        b"X-Empty:\r\n",
        b"X-Tab:\t a \t\r\n",
        b"Cookie: a=b; c=d\r\n",
        b"X-L: " + b"z" * 3000 + b"\r\n",
    ]
    return st.lists(st.sampled_from(some), max_size=3, unique=True).map(b"".join)


def _chunked(parts: list[bytes], trailers: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n" + trailers + b"\r\n"


trailers = st.sampled_from([b"", b"", b"X-Sum: 1\r\n", b"X-Sum: 1\r\nX-More: 2\r\n"])
host = b"Host: " + PLAIN.encode() + b"\r\n"
gets = st.builds(
    lambda method, fields: b"%s /get HTTP/1.1\r\n%s%s\r\n" % (method, host, fields),
    st.sampled_from([b"GET", b"HEAD", b"OPTIONS", b"DELETE"]),
    _fields(),
)
posts = st.builds(
    lambda fields, body: b"POST /length HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s" % (host, fields, len(body), body),
    _fields(),
    bodies,
)
chunked = st.builds(
    lambda fields, parts, trailers: (
        b"PUT /chunked HTTP/1.1\r\n%s%sTransfer-Encoding: chunked\r\n\r\n%s" % (host, fields, _chunked(parts, trailers))
    ),
    _fields(),
    st.lists(bodies, max_size=3),
    trailers,
)
lasts = st.sampled_from(
    [
        LAST,
        LAST,
        b"\r\n" + LAST,
        b"GET / HTTP/1.1\r\n" + host + b"X: a\nY: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X : b\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + host + EXTENDED + LAST,
        b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ]
)
streams = st.builds(lambda some, last: b"".join(some) + last, st.lists(gets | posts | chunked, max_size=4), lasts)


@st.composite
def _cut(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> list[bytes]:
    """Bytes in pieces, mostly cut where a parser looks; sometimes byte by byte at the start."""
    raw = draw(whole)
    marks = [n for n in range(1, len(raw)) if raw[n - 1 : n] in SEPARATORS or raw[n : n + 1] in SEPARATORS]
    cuts = draw(st.sets(st.sampled_from(marks) | st.integers(1, len(raw) - 1), min_size=1, max_size=14))
    if draw(st.booleans()):
        cuts |= set(range(1, min(40, len(raw))))
    edges = [0, *sorted(cuts), len(raw)]
    return [raw[start:end] for start, end in itertools.pairwise(edges)]


class Lane:
    """The shared proxy, a recording backend behind it, and one whose answers come in given pieces."""

    def __init__(self, proxy: Proxy, recorders: Recorders) -> None:
        self.proxy = proxy
        address, self.record = recorders.add()
        self.pieces: list[bytes] = []
        self.sloppy = Backend(self._answer)
        proxy.route(PLAIN, address)
        proxy.route(SLOW, self.sloppy.address)

    def _answer(self, _request: Message, wire: Wire) -> None:
        send_in_pieces(wire, self.pieces)

    def ask(self, pieces: list[bytes]) -> tuple[list[strict.Request], list[object]]:
        """What the backend was sent, and what the client was answered."""
        before = len(self.record.requests)
        with self.proxy.connect() as wire:
            send_in_pieces(wire, pieces)
            received = wire.rest()
        found = self.record.requests[before:]
        methods = [request.method for request in strict.requests(b"".join(pieces), of_client=True)[0]]
        answers, is_whole = strict.responses(received, methods)
        return found, [is_whole, *((a.status, a.body if a.status == 200 else b"") for a in answers)]

    def answered(self, pieces: list[bytes], method: str) -> tuple[object, ...]:
        """What a client sees of an answer that comes in these pieces, after which the backend closes.

        The method is one that may be repeated: the connection may end just when it is used again (R12).
        """
        self.pieces = pieces
        with self.proxy.connect() as wire:
            wire.send(get(SLOW, "/", "Connection: close", method=method))
            received = b""
            try:
                received = wire.rest()
            except ConnectionResetError:
                return ("reset",)
        answers, is_whole = strict.responses(received, [method.encode()])
        if not is_whole:
            return ("cut",)
        (answer,) = answers
        fields = tuple(field for field in answer.fields if field[0] != b"date")
        return answer.status, b"" if answer.status == 502 else answer.body, fields


@pytest.fixture(scope="module")
def lane(shared: Proxy) -> Iterator[Lane]:
    recorders = Recorders()
    made = Lane(shared, recorders)
    yield made
    made.sloppy.close()
    recorders.close()


def _record_of(requests: list[strict.Request]) -> list[object]:
    return [(request.core, sorted(request.fields)) for request in requests]


@QUICKLY
@given(pieces=_cut(streams))
def test_r20_a_client_s_bytes_mean_the_same_however_they_are_cut(lane: Lane, pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    wanted, wanted_answers = lane.ask([whole])
    clearly_asked = [request.core for request in strict.requests(whole, of_client=True)[0]]
    if EXTENDED in whole:
        # May be refused or served; never half.
        assert len(wanted) >= len(clearly_asked) - 2
        clearly_asked = clearly_asked[: len(wanted)]
    assert [request.core for request in wanted] == clearly_asked
    found, answers = lane.ask(pieces)
    assert _record_of(found) == _record_of(wanted)
    assert answers == wanted_answers
    assert answers[0] is True
    assert lane.record.unsafe() == []


heads = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 Not Found\r\n", b"HTTP/1.1 200 \r\n", b"HTTP/1.0 200 OK\r\n"]
)
interims = st.sampled_from(
    [b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"]
)
with_length = st.builds(
    lambda head, fields, body: b"%s%sContent-Length: %d\r\n\r\n%s" % (head, fields, len(body), body),
    heads,
    _fields(),
    bodies,
)
in_chunks = st.builds(
    lambda fields, parts, trailers: (
        b"HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n%s" % (fields, _chunked(parts, trailers))
    ),
    _fields(),
    st.lists(bodies, max_size=3),
    trailers,
)
to_the_end = st.builds(lambda fields, body: b"HTTP/1.1 200 OK\r\n%s\r\n%s" % (fields, body), _fields(), bodies)
odd = st.sampled_from(
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 7\r\n\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"nonsense\r\n\r\n",
    ]
)
answers = st.builds(operator.add, interims, with_length | in_chunks | to_the_end | odd)


@QUICKLY
@given(pieces=_cut(answers), method=st.sampled_from(["GET", "GET", "DELETE"]))
def test_r24_a_backend_s_bytes_mean_the_same_however_they_are_cut(lane: Lane, pieces: list[bytes], method: str) -> None:
    assert lane.answered(pieces, method) == lane.answered([b"".join(pieces)], method)
