"""What a Git server's webhook says, in words that belong to no Git server."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rivetr.errors import Unreadable

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BRANCH_PREFIX = "refs/heads/"


@dataclass(frozen=True, slots=True)
class Push:
    """New commits on a branch: `commit` is its newest, `urls` are the repository's addresses."""

    urls: tuple[str, ...]
    branch: str
    commit: str


class Provider(Protocol):
    """A kind of Git server. `headers` are named in lower case; `body` is what was signed."""

    name: str
    push_event: str

    def is_signed(self, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        """Whether the call was made by somebody who knows `secret`, compared in constant time."""
        ...

    def event(self, headers: Mapping[str, str]) -> str:
        """The kind of event, empty when it is not said."""
        ...

    def delivery_id(self, headers: Mapping[str, str]) -> str:
        """The id that a repeated delivery has again, empty when it is not said."""
        ...

    def pushes(self, payload: Mapping[str, Any]) -> Sequence[Push]:
        """The branches that got new commits; none for tags and deletions. Raises `Unreadable`."""
        ...


def branch_push(ref: str, commit: str, urls: Sequence[str]) -> list[Push]:
    """A push to `refs/heads/…`; nothing for a tag or a deletion (the commit is all zeros). Raises `Unreadable`."""
    if not ref.startswith(_BRANCH_PREFIX) or set(commit) == {"0"}:
        return []
    return [Push(tuple(urls), ref.removeprefix(_BRANCH_PREFIX), checked_commit(commit))]


def checked_commit(commit: str) -> str:
    """A whole commit id. Raises `Unreadable`."""
    if not _COMMIT.fullmatch(commit):
        raise Unreadable("The event names no whole commit id.")
    return commit


def section(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object `name` of a payload. Raises `Unreadable`."""
    found = payload.get(name)
    if not isinstance(found, Mapping):
        raise Unreadable(f"The event has no object '{name}'.")
    return found


def text(payload: Mapping[str, Any], name: str) -> str:
    """The text `name` of a payload. Raises `Unreadable`, also for half a surrogate pair: no database takes that."""
    found = payload.get(name)
    if not isinstance(found, str) or any("\ud800" <= character <= "\udfff" for character in found):
        raise Unreadable(f"The event has no text '{name}'.")
    return found


def texts(payload: Mapping[str, Any], *names: str) -> list[str]:
    """Those of `names` that are texts and not empty."""
    found = (payload.get(name) for name in names)
    return [value for value in found if isinstance(value, str) and value]
