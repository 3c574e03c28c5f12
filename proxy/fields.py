"""Header field blocks of HTTP/1 messages, parsed strictly (RFC 9112, 5): what peers could read in two ways is refused.

Pure functions over bytes. Field names repeat from request to request, so each spelling is looked at once and what is to
be done with it remembered; the lines of fields that concern nobody here are passed on as they came.
"""

import re
from enum import Enum, auto
from functools import lru_cache
from typing import TypeVar

Field = tuple[bytes, bytes]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# All bytes that may stand in a head: visible ones, space, tab, the line end, and 0x80 to 0xff (RFC 9110, 5.5).
_ALLOWED = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)])
_DIGITS = re.compile(rb"[0-9]{1,18}")


# Heads longer than this are parsed each time: remembering them would cost more than it saves.
_LONGEST_REMEMBERED, _MOST_REMEMBERED = 2048, 512
T = TypeVar("T")


def remember(known: dict[bytes, T], key: bytes, found: T) -> None:
    """Keep what was found for `key`, within bounds."""
    if len(key) <= _LONGEST_REMEMBERED:
        if len(known) >= _MOST_REMEMBERED:
            known.clear()
        known[key] = found


class Malformed(Exception):
    """A field block that not everybody would read alike."""


class Unclear(Malformed):
    """A message whose end not everybody would see at the same place."""


class TooMany(Malformed):
    """More fields than one message may have."""


class Action(Enum):
    """What is done with a field of some name."""

    KEEP = auto()
    DROP = auto()
    HOST = auto()
    LENGTH = auto()
    CODING = auto()
    CONNECTION = auto()
    UPGRADE = auto()
    EXPECT = auto()
    CLAIM = auto()


# Hop by hop: RFC 9110, 7.6.1, and older ones that peers still send. CGI-like backends read Proxy as the variable
# HTTP_PROXY ("httpoxy"), so nobody may set it.
_ACTIONS = {
    b"host": Action.HOST,
    b"content-length": Action.LENGTH,
    b"transfer-encoding": Action.CODING,
    b"connection": Action.CONNECTION,
    b"upgrade": Action.UPGRADE,
    b"expect": Action.EXPECT,
} | dict.fromkeys(
    (b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization",
     b"te", b"proxy", b"http2-settings"), Action.DROP,
)  # fmt: skip
# Nobody may have us drop what routing and framing rest on, or what the backend trusts, by listing it as hop by hop.
_NEVER_LISTED = frozenset((b"host", b"content-length", b"cookie", b"authorization"))
_MOST_LEARNED = 4096
_MOST_LINES, _LONGEST_LINE = 2048, 256


class Names:
    """Spellings of field names seen so far and their actions; one for requests and one for responses."""

    __slots__ = ("_claims", "_learned", "_special", "kept_lines")

    def __init__(self, special: dict[bytes, Action], claims: bool) -> None:
        self._special = special
        self._claims = claims
        self._learned: dict[bytes, Action] = {}
        # Whole lines that were passed on before: most of a browser's fields never change.
        self.kept_lines: set[bytes] = set()

    def action(self, name: bytes) -> Action:
        """What to do with fields of this name. Raises `Malformed` for what is no name."""
        if not _TOKEN.fullmatch(name):
            raise Malformed
        key = name.lower()
        action = Action.CLAIM if self._claims and is_claim(key) else self._special.get(key, Action.KEEP)
        if len(self._learned) < _MOST_LEARNED:
            self._learned[name] = action
        return action

    def keep(self, line: bytes) -> None:
        """Remember a line that is passed on as it is."""
        if len(line) <= _LONGEST_LINE:
            if len(self.kept_lines) >= _MOST_LINES:
                self.kept_lines.clear()
            self.kept_lines.add(line)

    @property
    def learned(self) -> dict[bytes, Action]:
        return self._learned


def is_claim(key: bytes) -> bool:
    """Whether a field (lower case) says something of the client; with `_` it is the same to CGI-like backends."""
    key = key.replace(b"_", b"-")
    return key.startswith(b"x-forwarded-") or key in (b"forwarded", b"x-real-ip")


REQUEST_NAMES = Names(_ACTIONS, claims=True)
RESPONSE_NAMES = Names(
    {k: v for k, v in _ACTIONS.items() if k not in (b"host", b"expect", b"te", b"proxy")}, claims=False
)


class FieldBlock:
    """A parsed block. `kept` are the `count` lines to pass on, each with CR LF; the rest is what was taken out of it.

    `codings` and `lengths` are the values of Transfer-Encoding and Content-Length, `options` those of Connection.
    """

    __slots__ = ("claims", "codings", "count", "expectations", "hosts", "kept", "lengths", "options", "upgrades")

    def __init__(self) -> None:
        self.kept = b""
        self.count = 0
        self.hosts: tuple[bytes, ...] = ()
        self.lengths: tuple[bytes, ...] = ()
        self.codings: tuple[bytes, ...] = ()
        self.upgrades: tuple[bytes, ...] = ()
        self.expectations: tuple[bytes, ...] = ()
        self.options: frozenset[bytes] = frozenset()
        self.claims: tuple[Field, ...] = ()

    @property
    def fields(self) -> list[Field]:
        """The kept ones as pairs."""
        return split_lines(self.kept)

    def length(self) -> int | None:
        """The body's length in bytes, None without one. Raises `Unclear`."""
        if not self.lengths:
            return None
        if not _DIGITS.fullmatch(self.lengths[0]) or len(set(self.lengths)) > 1:
            raise Unclear
        return int(self.lengths[0])


def split_lines(lines: bytes) -> list[Field]:
    """Names and values of validated lines, each with its CR LF."""
    pairs = [line.partition(b":") for line in lines.split(b"\r\n")[:-1]]
    return [(name, value.strip(b" \t")) for name, _, value in pairs]


def join_fields(fields: list[Field]) -> bytes:
    """The lines of these fields."""
    return b"".join([b"%s: %s\r\n" % field for field in fields])


def parse_block(block: bytes, names: Names, most: int) -> FieldBlock:
    """Parse the lines after the first one, given without the last CR LF. Raises `Malformed`, `TooMany`."""
    found = FieldBlock()
    if not block:
        return found
    lines = block.split(b"\r\n")
    _check_lines(block, len(lines), most)
    known = names.kept_lines
    kept = [line for line in lines if line in known or _is_kept(line, names, found)]
    if found.options:
        kept = _without_listed(kept, found.options)
    if kept:
        found.count = len(kept)
        kept.append(b"")
        found.kept = b"\r\n".join(kept)
    return found


def _check_lines(block: bytes, count: int, most: int) -> None:
    if count > most:
        raise TooMany
    # A CR or LF on its own ends a line for some readers and not for others.
    if block.count(b"\r") != count - 1 or block.count(b"\n") != count - 1 or block.translate(None, _ALLOWED):
        raise Malformed


def _is_kept(line: bytes, names: Names, found: FieldBlock) -> bool:
    """Whether a line goes on as it is; what it says is put into `found` otherwise."""
    name, colon, value = line.partition(b":")
    action = names.learned.get(name)
    if action is None:
        # A space before the colon or at the line's start (obs-fold) fails here.
        action = names.action(name)
    if not colon:
        raise Malformed
    if action is _KEEP:
        names.keep(line)
        return True
    if action is not _DROP:
        _take(found, action, name, value.strip(b" \t"))
    return False


_KEEP, _DROP, _CONNECTION, _CLAIM = Action.KEEP, Action.DROP, Action.CONNECTION, Action.CLAIM
_SLOTS = {
    Action.HOST: "hosts",
    Action.LENGTH: "lengths",
    Action.CODING: "codings",
    Action.UPGRADE: "upgrades",
    Action.EXPECT: "expectations",
}


def _take(found: FieldBlock, action: Action, name: bytes, value: bytes) -> None:
    if action is _CONNECTION:
        found.options |= _options(value)
    elif action is _CLAIM:
        found.claims += ((name, value),)
    else:
        slot = _SLOTS[action]
        setattr(found, slot, (*getattr(found, slot), value))


@lru_cache(maxsize=256)
def _options(value: bytes) -> frozenset[bytes]:
    return frozenset({option.strip(b" \t") for option in value.lower().split(b",")} - {b""})


def _without_listed(kept: list[bytes], options: frozenset[bytes]) -> list[bytes]:
    listed = options - {b"close", b"keep-alive", b"upgrade"} - _NEVER_LISTED
    if not listed:
        return kept
    return [line for line in kept if line.partition(b":")[0].lower() not in listed]
