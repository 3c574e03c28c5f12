"""`compress`: gzip or zstd for answers that become smaller by it, as they stream through.

An answer that holds both a secret and what the client sent can be measured by its compressed size
(BREACH); docs/proxy-policies.md says when to leave this off.
"""

import functools
import logging
import re
import zlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol

from proxy.policies.base import Asked, Field, complain

log = logging.getLogger("proxy")

# Level 6 costs a third more time for 1 % less; the loop serves nobody meanwhile.
_GZIP_LEVEL, _ZSTD_LEVEL = 5, 3
# A window of 256 KiB keeps an encoder below 1 MB; browsers take up to 8 MB (RFC 9659).
_ZSTD_WINDOW = 256 * 1024
_LEAST_BYTES = 512
# Browsers send some 30 bytes; what is far longer is not worth reading.
_LONGEST_ACCEPT = 512

_TYPES = frozenset(
    (b"application/javascript", b"application/json", b"application/manifest+json", b"application/rtf",
     b"application/vnd.ms-fontobject", b"application/wasm", b"application/x-javascript", b"application/x-ndjson",
     b"application/xml", b"font/otf", b"font/ttf", b"image/bmp", b"image/vnd.microsoft.icon", b"image/x-icon")
)  # fmt: skip
# Digests of the bytes as sent would no longer be true.
_DIGESTS = frozenset((b"content-digest", b"content-md5", b"digest", b"repr-digest"))
_CODING = re.compile(rb"\s*([!#$%&'*+\-.^_`|~0-9a-z]+)\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")


class Encoder(Protocol):
    """One answer's body on its way through: what is fed comes out of `feed`, `flush` or `end`, in this order."""

    name: bytes

    def feed(self, data: bytes) -> bytes:
        """Take bytes; give what is ready, which may be nothing."""

    def flush(self) -> bytes:
        """Everything that was fed, so that the client can decode it now."""

    def end(self) -> bytes:
        """The rest; without it the client takes the answer for cut."""


class _Gzip:
    name = b"gzip"

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
        self._has_more = False

    def feed(self, data: bytes) -> bytes:
        self._has_more = self._has_more or bool(data)
        return self._stream.compress(data)

    def flush(self) -> bytes:
        # Without new bytes it would still write an empty block.
        if not self._has_more:
            return b""
        self._has_more = False
        return self._stream.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._stream.flush()


class _Zstd:
    name = b"zstd"

    def __init__(self, zstandard: ModuleType) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(_ZSTD_LEVEL, source_size=_ZSTD_WINDOW)
        # A compressor serves one stream at a time, so each answer has its own.
        self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self._flush_block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self._has_more = False

    def feed(self, data: bytes) -> bytes:
        self._has_more = self._has_more or bool(data)
        return bytes(self._stream.compress(data))

    def flush(self) -> bytes:
        if not self._has_more:
            return b""
        self._has_more = False
        return bytes(self._stream.flush(self._flush_block))

    def end(self) -> bytes:
        return bytes(self._stream.flush())


@functools.cache
def _zstandard() -> ModuleType | None:
    # Its 30 ms and its memory only where a route compresses, and a proxy without it still serves.
    try:
        import zstandard
    except ImportError:
        log.warning("The package zstandard is not installed: answers are compressed with gzip only")
        return None
    return zstandard


def encoder(policy: Mapping[str, Any], asked: Asked, status: int, fields: list[Field]) -> Encoder | None:
    """An encoder for the answer's body, or None when the body goes on as it is."""
    is_wanted = policy.get("compress", False)
    if not isinstance(is_wanted, bool):
        complain(policy.get("app", ""), "compress", "not true or false")
        return None
    if not is_wanted or asked.method == b"HEAD" or status < 200 or status in (204, 205, 206, 304):
        return None
    codings = _taken(b",".join(asked.values(b"accept-encoding")))
    if not codings or not _is_worth_it(fields):
        return None
    for coding in codings:
        if coding == b"gzip":
            return _Gzip()
        zstandard = _zstandard()
        if zstandard is not None:
            return _Zstd(zstandard)
    return None


def encoded(fields: list[Field], encoder: Encoder) -> list[Field]:
    """The answer's fields as they are with a body from `encoder`, whose length nobody knows yet."""
    kept = []
    varies = False
    for name, value in fields:
        key = name.lower()
        if key in (b"content-encoding", b"content-length", b"accept-ranges"):
            continue
        if key == b"vary":
            varies = varies or not {b"*", b"accept-encoding"}.isdisjoint(_listed(value))
        # The bytes are others than those that the backend named, though they mean the same (RFC 9110, 8.8.1).
        kept.append((name, b"W/" + value if key == b"etag" and value.startswith(b'"') else value))
    kept.append((b"Content-Encoding", encoder.name))
    if not varies:
        kept.append((b"Vary", b"Accept-Encoding"))
    return kept


def _taken(accept: bytes) -> tuple[bytes, ...]:
    # The cache is bounded in bytes too.
    return _preferred(accept) if len(accept) <= _LONGEST_ACCEPT else ()


@functools.lru_cache(maxsize=256)
def _preferred(accept: bytes) -> tuple[bytes, ...]:
    """Which of zstd and gzip the client takes, what it prefers first (RFC 9110, 12.5.3)."""
    weights: dict[bytes, float] = {}
    for part in accept.lower().split(b","):
        match = _CODING.fullmatch(part)
        if match is not None:
            weights[match.group(1)] = float(match.group(2) or 1)
    # Who says just "*" may be older than zstd.
    gzip = weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0)))
    both = sorted(((weights.get(b"zstd", 0), b"zstd"), (gzip, b"gzip")), reverse=True)
    least = weights.get(b"identity", 0)
    return tuple(name for weight, name in both if weight > 0 and weight >= least)


def _is_worth_it(fields: list[Field]) -> bool:
    held: dict[bytes, bytes] = {}
    for name, value in fields:
        key = name.lower()
        held[key] = held[key] + b"," + value if key in held else value
    if b"content-encoding" in held or b"content-range" in held or not _DIGESTS.isdisjoint(held):
        return False
    if b"no-transform" in _listed(held.get(b"cache-control", b"")):
        return False
    length = held.get(b"content-length", b"")
    if length.isdigit() and len(length) <= 3 and int(length) < _LEAST_BYTES:
        return False
    return _is_compressible(held.get(b"content-type", b""))


def _is_compressible(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip(b" \t").lower()
    # Events are small and must go out one by one; clients that read them seldom decode.
    if kind == b"text/event-stream":
        return False
    return kind.startswith(b"text/") or kind.endswith((b"+json", b"+xml")) or kind in _TYPES


def _listed(value: bytes) -> set[bytes]:
    return {item.strip(b" \t") for item in value.lower().split(b",")}
