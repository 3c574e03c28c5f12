"""What is compressed, for whom, and that it can be decoded at each point."""

import random
import sys
import zlib

import pytest
import zstandard

from proxy.policies import compression
from proxy.policies.base import Field
from proxy.policies.compression import Encoder, encoded, encoder
from tests.proxy.policies.asking import asked

HTML: Field = (b"Content-Type", b"text/html; charset=utf-8")
ON = {"compress": True}
PIECES = [b"", b"a" * 100_000, b"<p>hello</p>" * 50, random.Random(1).randbytes(70_000), b"x", b"end"]


def _encoder(coding: str, *fields: Field) -> Encoder:
    made = encoder(ON, asked(accept_encoding=coding), 200, list(fields or (HTML,)))
    assert made is not None
    return made


def _name(accept: str) -> bytes | None:
    made = encoder(ON, asked(accept_encoding=accept), 200, [HTML])
    return made.name if made else None


class _Decoder:
    def __init__(self, coding: str) -> None:
        zstd = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024)
        self._stream = zlib.decompressobj(31) if coding == "gzip" else zstd.decompressobj()

    def feed(self, data: bytes) -> bytes:
        return bytes(self._stream.decompress(data)) if data else b""

    @property
    def has_ended(self) -> bool:
        return bool(self._stream.eof)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_what_went_in_comes_out(coding: str) -> None:
    made, decoder = _encoder(coding), _Decoder(coding)
    sent = b"".join([*(made.feed(piece) for piece in PIECES), made.end()])
    assert made.name == coding.encode()
    assert decoder.feed(sent) == b"".join(PIECES)
    assert decoder.has_ended
    assert len(sent) < 80_000


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_what_was_flushed_can_be_decoded_at_once(coding: str) -> None:
    made, decoder = _encoder(coding), _Decoder(coding)
    for piece in PIECES:
        assert decoder.feed(made.feed(piece) + made.flush()) == piece
    assert not decoder.has_ended
    assert decoder.feed(made.end()) == b""
    assert decoder.has_ended


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_flush_without_new_bytes_sends_nothing(coding: str) -> None:
    made = _encoder(coding)
    assert made.flush() == b""
    made.feed(b"abc")
    assert made.flush() != b""
    assert [made.flush() for _ in range(3)] == [b""] * 3


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_an_empty_body_is_a_whole_one(coding: str) -> None:
    decoder = _Decoder(coding)
    assert decoder.feed(_encoder(coding).end()) == b""
    assert decoder.has_ended


def test_streams_do_not_meet() -> None:
    streams = [(_encoder("zstd"), _Decoder("zstd"), b"%d" % number * 999) for number in range(5)]
    for _ in range(3):
        for made, decoder, piece in streams:
            assert decoder.feed(made.feed(piece) + made.flush()) == piece


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("gzip, deflate, br, zstd", b"zstd"),
        ("gzip, deflate, br", b"gzip"),
        ("GZIP", b"gzip"),
        ("x-gzip", b"gzip"),
        ("zstd;q=0.5, gzip;q=0.8", b"gzip"),
        ("zstd;q=0.8, gzip;q=0.5", b"zstd"),
        ("zstd;q=0, gzip", b"gzip"),
        ("gzip;q=0, zstd;q=0.001", b"zstd"),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("gzip ; q=0.5", b"gzip"),
        ("*", b"gzip"),
        ("*;q=0", None),
        ("*, gzip;q=0", None),
        ("*;q=0, zstd", b"zstd"),
        ("identity", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", b"gzip"),
        ("br, deflate", None),
        ("", None),
        ("gzip;q=x", None),
        ("gzip;q=-1", None),
        (",,;q=,gzip;;q", None),
        ("gzip" + "," * 100_000, None),
    ],
)
def test_the_client_chooses(accept: str, name: bytes | None) -> None:
    assert _name(accept) == name


def test_a_client_that_says_nothing_gets_the_body_as_it_is() -> None:
    assert encoder(ON, asked(), 200, [HTML]) is None


def test_several_accept_fields_count_as_one_list() -> None:
    request = asked()
    request.fields = [(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")]
    made = encoder(ON, request, 200, [HTML])
    assert made is not None and made.name == b"gzip"


@pytest.mark.parametrize(
    ("kind", "is_compressed"),
    [
        (b"text/plain", True),
        (b"TEXT/CSS;x=y", True),
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"image/svg+xml", True),
        (b"application/wasm", True),
        (b"image/png", False),
        (b"video/mp4", False),
        (b"application/zip", False),
        (b"application/octet-stream", False),
        (b"application/grpc", False),
        (b"text/event-stream", False),
        (b"Text/Event-Stream; charset=utf-8", False),
        (b"", False),
    ],
)
def test_which_types_are_compressed(kind: bytes, is_compressed: bool) -> None:
    made = encoder(ON, asked(accept_encoding="gzip"), 200, [(b"content-TYPE", kind)])
    assert (made is not None) == is_compressed


@pytest.mark.parametrize(
    ("field", "is_compressed"),
    [
        ((b"Content-Length", b"511"), False),
        ((b"Content-Length", b"0"), False),
        ((b"Content-Length", b"512"), True),
        ((b"Content-Length", b"9" * 5000), True),
        ((b"Content-Length", b"x"), True),
        ((b"content-encoding", b"br"), False),
        ((b"Content-Encoding", b"identity"), False),
        ((b"Cache-Control", b"public, No-Transform"), False),
        ((b"Cache-Control", b"no-transformers"), True),
        ((b"Content-Range", b"bytes 0-1/2"), False),
        ((b"Repr-Digest", b"sha-256=:x:"), False),
    ],
)
def test_which_answers_are_compressed(field: Field, is_compressed: bool) -> None:
    made = encoder(ON, asked(accept_encoding="gzip"), 200, [HTML, field])
    assert (made is not None) == is_compressed


@pytest.mark.parametrize("status", [100, 101, 103, 204, 205, 206, 304])
def test_answers_without_a_body_of_their_own_are_left(status: int) -> None:
    assert encoder(ON, asked(accept_encoding="gzip"), status, [HTML]) is None


def test_head_is_left() -> None:
    request = asked(accept_encoding="gzip")
    request.method = b"HEAD"
    assert encoder(ON, request, 200, [HTML]) is None


@pytest.mark.parametrize("value", [False, None, 1, "yes", []])
def test_only_true_switches_it_on(value: object) -> None:
    assert encoder({"compress": value}, asked(accept_encoding="gzip"), 200, [HTML]) is None


def test_the_fields_tell_of_the_new_body() -> None:
    fields = [HTML, (b"CONTENT-LENGTH", b"999"), (b"accept-ranges", b"bytes"), (b"ETag", b'"a"'), (b"Vary", b"Cookie")]
    assert encoded(fields, _encoder("gzip")) == [
        HTML,
        (b"ETag", b'W/"a"'),
        (b"Vary", b"Cookie"),
        (b"Content-Encoding", b"gzip"),
        (b"Vary", b"Accept-Encoding"),
    ]


@pytest.mark.parametrize("vary", [b"*", b"Cookie, accept-ENCODING"])
def test_vary_is_not_said_twice(vary: bytes) -> None:
    assert encoded([(b"vary", vary)], _encoder("gzip")).count((b"Vary", b"Accept-Encoding")) == 0


def test_a_weak_etag_stays() -> None:
    assert (b"etag", b'W/"a"') in encoded([(b"etag", b'W/"a"')], _encoder("gzip"))


def test_without_the_package_gzip_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    compression._zstandard.cache_clear()
    try:
        assert _name("zstd, gzip;q=0.1") == b"gzip"
        assert _name("zstd") is None
    finally:
        compression._zstandard.cache_clear()
