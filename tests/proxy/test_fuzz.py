"""Good requests made bad in a thousand ways: no backend may be sent what it could read in another way (R20)."""

import random
from collections.abc import Callable, Iterator

import pytest

from tests.proxy import strict
from tests.proxy.process import Proxy, running
from tests.proxy.recorder import Recorders
from tests.proxy.trials import SHORT, Case, Outcome, run

SEED, EXAMPLES = 20261, 1500
HOST = b"Host: case.test\r\n"
AFTER = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\0\r\n", b" \r\n", b"")
SPACES = (b" ", b"\t", b"\x0b", b"\x0c", b"\xa0", b"\0", b"  ", b"")
BYTES = (
    b"\0",
    b"\r",
    b"\n",
    b"\t",
    b" ",
    b":",
    b",",
    b";",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x1b",
    b"\x0b",
    b"_",
    b"-",
    b"+",
)
LENGTHS = (
    b"5",
    b"0",
    b"+5",
    b"-1",
    b"0x5",
    b"0_5",
    b"5, 5",
    b"5,6",
    b"005",
    b"5 ",
    b"",
    b"4294967301",
    b"9" * 30,
    b"5\0",
    b"\t5",
    b"5;a",
)
CODINGS = (
    b"chunked",
    b"Chunked",
    b"xchunked",
    b"chunked, identity",
    b"identity, chunked",
    b"gzip, chunked",
    b"chunked;a=b",
    b'"chunked"',
    b"\x0bchunked",
    b"chunked\0",
    b"",
    b" chunked",
    b"chunked, ",
    b"identity",
    b"chun\xe2\x84\xaaed",
)
SIZES = (
    b"5",
    b"05",
    b"+5",
    b"-5",
    b"0x5",
    b"0_5",
    b"5 ",
    b" 5",
    b"5;a",
    b'5;a="b"',
    b"5;\n",
    b"5;a\rb",
    b"10000000000000005",
    b"fffffffffffffffb",
    b"",
    b"g",
    b"5\t;a",
    b"5,",
    b"5\0",
    b"0" * 40 + b"5",
)
HOSTS = (
    b"case.test",
    b"case.test:80",
    b"CASE.TEST",
    b"case.test.",
    b"other.test",
    b"",
    b"case.test, case.test",
    b"a@case.test",
    b"case.test/x",
    b"case.test:99999",
    b"case test",
    b"[::1",
    b"case.test#",
    b"case.test\0",
    b"\xff.test",
)
TARGETS = (
    b"/a",
    b"/a?b=c",
    b"http://case.test/a",
    b"http://case.test",
    b"http://other.test/",
    b"*",
    b"a",
    b"//a",
    b"/a#b",
    b"/\xff",
    b"http://a@case.test/",
    b"/a b",
    b"/a\tb",
    b"case.test:80",
    b"/" + b"x" * 17000,
    b"/\0",
)
NAMES = (
    b"X",
    b"X_Y",
    b"X ",
    b" X",
    b"X\t",
    b"X\0",
    b"",
    b"X(",
    b"\xc3\xa9",
    b"Content_Length",
    b"Transfer_Encoding",
    b"Content-Length ",
    b"Transfer-Encoding\x0b",
    b"X" * 300,
    b"Connection",
    b"Proxy",
    b"X:Y",
)


def _field(rng: random.Random) -> bytes:
    value = rng.choice(
        (
            b"a",
            b"",
            b"content-length",
            b"close",
            b"a\tb",
            b"\xff",
            b"a" * 5000,
            b"a\r\n b",
            b"a\nContent-Length: 5",
            b"a\rb",
        )
    )
    return rng.choice(NAMES) + b":" + rng.choice(SPACES) + value + b"\r\n"


def _line(rng: random.Random) -> bytes:
    method = rng.choice((b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"get", b"G\0T", b"GET:", b""))
    version = rng.choice(
        (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 ", b"HTTP/11", b"HTTP/0.9", b"")
    )
    return method + rng.choice(SPACES) + rng.choice(TARGETS) + rng.choice(SPACES) + version + rng.choice(ENDS)


def _chunks(rng: random.Random, may_break: bool) -> bytes:
    size = rng.choice(SIZES) if may_break else b"5"
    data_end = (
        rng.choice((b"\r\n", b"", b"\n", b"xx", b"\r", b"\r\n\r\n")) if may_break and rng.random() < 0.5 else b"\r\n"
    )
    last = rng.choice(
        (
            b"0\r\n\r\n",
            b"0\r\nX: a\r\n\r\n",
            b"00\r\n\r\n",
            b"0\n\n",
            b"0\r\n\n",
            b"0\r\nX : a\r\n\r\n",
            b"0;a\r\n\r\n",
            b"",
        )
    )
    return size + b"\r\nhello" + data_end + (last if may_break else b"0\r\n\r\n")


def _good(rng: random.Random) -> tuple[bytes, list[bytes], bytes]:
    """Line, fields and body of a request without a fault."""
    kind = rng.randrange(3)
    if kind == 0:
        return b"GET /a HTTP/1.1\r\n", [HOST, b"X: a\r\n"], b""
    if kind == 1:
        return b"POST /a HTTP/1.1\r\n", [HOST, b"Content-Length: 5\r\n"], b"hello"
    return b"PUT /a HTTP/1.1\r\n", [HOST, b"Transfer-Encoding: chunked\r\n"], _chunks(rng, may_break=False)


def _change_a_byte(rng: random.Random, raw: bytes) -> bytes:
    at = rng.randrange(len(raw))
    kind = rng.randrange(4)
    if kind == 0:
        return raw[:at] + raw[at + 1 :]
    if kind == 1:
        return raw[:at] + rng.choice(BYTES) + raw[at:]
    if kind == 2:
        return raw[:at] + rng.choice(BYTES) + raw[at + 1 :]
    return raw[:at] + raw[at : at + rng.randrange(1, 30)] + raw[at:]


def _with_length(rng: random.Random, fields: list[bytes]) -> None:
    fields.append(
        rng.choice((b"Content-Length", b"content-length", b"Content-Length ")) + b": " + rng.choice(LENGTHS) + b"\r\n"
    )


def _with_coding(rng: random.Random, fields: list[bytes]) -> None:
    name = rng.choice(
        (
            b"Transfer-Encoding",
            b"transfer-encoding",
            b"Transfer-Encoding ",
            b"\x0bTransfer-Encoding",
            b"X: a\nTransfer-Encoding",
        )
    )
    fields.append(name + b": " + rng.choice(CODINGS) + b"\r\n")


def _with_host(rng: random.Random, fields: list[bytes]) -> None:
    if rng.random() < 0.5:
        fields.remove(HOST)
    fields.append(rng.choice((b"Host", b"host", b"Host ")) + b": " + rng.choice(HOSTS) + rng.choice(ENDS))


def _with_field(rng: random.Random, fields: list[bytes]) -> None:
    fields.insert(rng.randrange(len(fields) + 1), _field(rng))


CHANGES: tuple[Callable[[random.Random, list[bytes]], None], ...] = (
    _with_length,
    _with_coding,
    _with_host,
    _with_field,
)


def _example(rng: random.Random) -> bytes:
    line, fields, body = _good(rng)
    kind = rng.randrange(10)
    if kind == 0:
        return line + b"".join(fields) + b"\r\n" + body + AFTER
    if kind <= 5:
        rng.choice(CHANGES)(rng, fields)
        rng.shuffle(fields)
    elif kind == 6:
        line = _line(rng)
    elif kind == 7:
        body = (
            _chunks(rng, may_break=True)
            if b"chunked" in fields[-1]
            else body + rng.choice((b"\r\n", b"x", b"0\r\n\r\n"))
        )
    raw = line + b"".join(fields) + rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\r\n")) + body + AFTER
    return _change_a_byte(rng, raw) if kind >= 8 else raw


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Outcome]]:
    rng = random.Random(SEED)
    cases = [Case(str(number), _example(rng)) for number in range(EXAMPLES)]
    recorders = Recorders()
    with running(tmp_path_factory.mktemp("fuzz"), *SHORT) as proxy:
        yield _run(proxy, recorders, cases)
    recorders.close()


def _run(proxy: Proxy, recorders: Recorders, cases: list[Case]) -> list[Outcome]:
    address, stray = recorders.add()
    proxy.route("other.test", address)
    outcomes = run(proxy, recorders, cases)
    assert stray.unsafe() == []
    assert {request.all(b"host")[0] for request in stray.requests} <= {b"other.test"}
    return outcomes


def _is_in_order(found: list[strict.Request], asked: list[strict.Request]) -> bool:
    """Whether `found` are some of `asked`, in their order."""
    left = iter([request.core for request in asked])
    return all(request.core in left for request in found)


def test_r20_no_ambiguous_byte_reaches_a_backend(outcomes: list[Outcome]) -> None:
    assert [f"{outcome}: {outcome.record.unsafe()}" for outcome in outcomes if outcome.record.unsafe()] == []


def test_r20_a_backend_sees_what_the_client_asked_and_nothing_else(outcomes: list[Outcome]) -> None:
    assert [str(o) for o in outcomes if not _is_in_order(o.record.requests, o.asked)] == []


def test_r20_nonsense_gets_an_error_and_never_one_of_ours(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        status = outcome.received[9:12]
        assert outcome.received.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 4", b"HTTP/1.1 5")) or not status, str(outcome)
        assert status not in (b"500", b"502", b"503", b"504"), str(outcome)


def test_r20_good_examples_among_the_bad_are_served(outcomes: list[Outcome]) -> None:
    clear = [
        o for o in outcomes if strict.requests(o.raw, of_client=True)[1] == "nothing" and b"other.test" not in o.raw
    ]
    served = [o for o in clear if o.is_served]
    assert len(clear) > EXAMPLES / 10
    assert len(served) > 0.8 * len(clear), [str(o) for o in clear if not o.is_served]
