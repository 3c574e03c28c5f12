"""What policies see of a request, what they answer, and what happens to a value that they cannot use."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("proxy")

Field = tuple[bytes, bytes]

_MOST_COMPLAINTS = 1024
# JSON can spell numbers that no float and no timer holds.
_LARGEST = 2**53
_complaints: set[tuple[str, str, str]] = set()


@dataclass(slots=True)
class Asked:
    """One request, as far as policies look at it; the core has checked its syntax (`proxy.head`).

    `host` is lower case without port, `authority` as sent; `target` is path and query, `path` has no
    query. `peer` and `is_tls` tell of the client itself, also when it came through trusted proxies.
    Names in `fields` are in lower case.
    """

    method: bytes
    host: bytes
    authority: bytes
    target: bytes
    path: bytes
    is_tls: bool
    peer: str
    fields: Sequence[Field]

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of that name (lower case)."""
        return [value for key, value in self.fields if key == name]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a policy answers in the backend's place: plain sentences, or with `html` a page of the owner's own."""

    status: int
    visitor: str
    owner: str = ""
    fields: tuple[Field, ...] = ()
    html: str = ""


Gate = Callable[[Asked], Answer | None]


class BadValue(Exception):
    """A policy's value that cannot be used; the text says why and never quotes the value, which may be secret."""


def text(value: object, name: str) -> str:
    """The value, when it is a text that can be sent. Raises `BadValue`."""
    if not isinstance(value, str):
        raise BadValue(f"{name} is not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can spell halves of a character.
        raise BadValue(f"{name} is not valid Unicode") from None
    return value


def number(values: Mapping[str, Any], key: str, default: float, app: object = "") -> float:
    """The number above 0 that `key` names; `default` without one, and for what is none, which is logged."""
    if key not in values:
        return default
    value = values[key]
    # Not a number (NaN) fails the comparison too.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST:
        return value
    complain(app, key, "not a number above 0")
    return default


def flag(policy: Mapping[str, Any], key: str) -> bool:
    """Whether `key` is switched on; what is neither true nor false is logged and counts as false."""
    value = policy.get(key, False)
    if not isinstance(value, bool):
        complain(policy.get("app", ""), key, "not true or false")
    return value is True


def complain(app: object, key: str, why: str) -> None:
    """Log a bad value once, not each time the table is read or a request comes."""
    complaint = (str(app)[:200], key, why)
    if complaint in _complaints:
        return
    if len(_complaints) >= _MOST_COMPLAINTS:
        _complaints.clear()
    _complaints.add(complaint)
    # %r: names come from people, and a line break in one would forge a line of the log.
    log.error("Policy %s of app %r cannot be used: %s", key, complaint[0], why)


def closed(key: str) -> Gate:
    """For a protecting policy whose value is bad: nobody passes, since we cannot know whom it was to stop."""
    answer = Answer(
        503,
        "This app is not available now. Try again later.",
        f"the app's setting '{key}' cannot be used, so nobody is let in; the proxy's log says why.",
    )
    return lambda _asked: answer
