"""`response_headers`: fields that the owner sets on, or removes from, what the backend answers."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from proxy.policies.base import BadValue, Field, complain, text

Rewriter = Callable[[list[Field]], list[Field]]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
# A line break would begin a field, or a body, of its own.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LONGEST_VALUE = 8192
# Where the answer ends and how it is coded is between the backend and us.
_OURS = frozenset(
    ("connection", "content-encoding", "content-length", "keep-alive", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade")
)  # fmt: skip


def rewriter(policy: Mapping[str, Any]) -> Rewriter | None:
    """Rewrites the fields of an answer, or None where there is nothing to do; a bad value counts as none."""
    if "response_headers" not in policy:
        return None
    try:
        added, removed = _parsed(policy["response_headers"])
    except BadValue as bad:
        complain(policy.get("app", ""), "response_headers", str(bad))
        return None
    if not removed:
        return None
    return lambda fields: [field for field in fields if field[0].lower() not in removed] + added


def _parsed(value: object) -> tuple[list[Field], frozenset[bytes]]:
    """What is added, and the names (lower case) that go: those to be set too, so that none is there twice."""
    if not isinstance(value, Mapping):
        raise BadValue("not an object with set and remove")
    wanted, unwanted = value.get("set", {}), value.get("remove", [])
    if not isinstance(wanted, Mapping) or not isinstance(unwanted, list | tuple):
        raise BadValue("set is not an object, or remove is not a list")
    added = {_name(name): (str(name).encode(), _value(content)) for name, content in wanted.items()}
    return list(added.values()), frozenset(added) | frozenset(_name(name) for name in unwanted)


def _name(name: object) -> bytes:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise BadValue("a name is not one of a header field")
    if name.lower() in _OURS:
        raise BadValue(f"the proxy alone decides about {name.lower()}")
    return name.lower().encode()


def _value(content: object) -> bytes:
    content = text(content, "a field's value")
    if _CONTROL.search(content) or len(content) > _LONGEST_VALUE:
        raise BadValue("a field's value is too long or holds control characters")
    return content.strip(" \t").encode()
