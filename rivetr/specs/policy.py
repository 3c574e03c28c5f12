"""What the proxy may be told about an app's requests: the keys of a route's policy (docs/api.md).

A key that is null is taken away; one that is not there stays as it was. Passwords come in plain
and leave here so: `services.policies` hashes them before anything is stored.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, missing, validates_schema

from rivetr.specs import names
from rivetr.specs.fields import Count, Flag, Number, Part, Rule, Text, length, one_of
from rivetr.specs.parsing import Spec

MAX_BYTES = 2**40
MAX_NETWORKS, MAX_REDIRECTS, MAX_USERS, MAX_HEADERS = 200, 100, 50, 50
BALANCES = ("round_robin", "least_in_flight")
MAX_PAGE = 64 * 1024
# RFC 9110, 5.6.2: what names of header fields and cookies are made of.
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
# How a message ends and how a connection goes on is the proxy's to say, not a rule's.
_FRAMING = frozenset((
    "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
))  # fmt: skip


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be 1 to 64 letters, digits or any of !#$%&'*+.^_`|~-")
    return text


def _header_name(text: str) -> str:
    if _token(text).lower() in _FRAMING:
        raise ValueError(f"must not be {text}, which belongs to the connection")
    return text


def _header_value(text: str) -> str:
    if len(text) > 4096 or names.has_control_characters(text) or not text.isascii():
        raise ValueError("must be at most 4096 ASCII characters in one line")
    return text.strip()


def network(text: str) -> str:
    """An address or network, in the one way the proxy writes it. Raises `ValueError` with a sentence."""
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise ValueError(f"'{text}' is no address or network such as 203.0.113.7 or 10.0.0.0/8") from None


def _target(text: str) -> str:
    parts = urlsplit(text)
    is_plain = text.isascii() and " " not in text and not names.has_control_characters(text) and len(text) <= 2048
    if not is_plain or parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be a whole address such as https://example.com/new")
    return text


def _realm(text: str) -> str:
    if names.has_control_characters(text) or not text.isascii() or '"' in text or "\\" in text:
        raise ValueError("must be plain ASCII without quotes or '\\'")
    return length(1, 100)(text)


def _user(text: str) -> str:
    # RFC 7617, 2: the first ':' ends the name.
    if ":" in text or names.has_control_characters(text):
        raise ValueError("must not contain ':' or control characters")
    return length(1, 64)(text)


def _at_most(most: int, things: str) -> Any:
    def rule(given: Any) -> None:
        if not 1 <= len(given) <= most:
            raise ValidationError(f"must be 1 to {most} {things}")

    return rule


def _optional(rule: Rule, **metadata: Any) -> Text:
    return Text(rule, allow_none=True, load_default=missing, metadata=metadata)


class _Password(Text):
    keeps_blank = True


class HealthSpec(Spec):
    """Active checks: `threshold` failures in a row make a backend unhealthy, one success brings it back."""

    path = Text(names.url_path, required=True)
    interval = Number(1, 3600, load_default=10)
    timeout = Number(0.1, 300, load_default=5)
    threshold = Count(1, 100, load_default=3)


class PausedSpec(Spec):
    """Requests wait this long for the pause to end, then get 503."""

    limit_seconds = Number(1, 600, load_default=30)


class MaintenanceSpec(Spec):
    """A message on our page, or a page of one's own."""

    message = Text(length(1, 1000), load_default=missing)
    html = Text(length(1, MAX_PAGE), load_default=missing)

    @validates_schema
    def _one(self, data: dict[str, object], **_: object) -> None:
        if len(data) != 1:
            raise ValidationError('must have either a "message" or a page of its own as "html"')


class _RedirectSpec(Spec):
    """Requests under `from` (whole segments) go to the address `to`."""

    class Meta:
        """`from` is a word of Python's, so it cannot be a class attribute."""

        include = {"from": Text(names.path_prefix, required=True)}  # noqa: RUF012

    to = Text(_target, required=True)
    status = fields.Integer(strict=True, load_default=308, error_messages={"invalid": "must be 301, 302, 307 or 308"})
    keep_path = Flag(load_default=False)

    @validates_schema
    def _known_status(self, data: dict[str, object], **_: object) -> None:
        if data["status"] not in (301, 302, 307, 308):
            raise ValidationError("must be 301, 302, 307 or 308", "status")


class BasicAuthSpec(Spec):
    """Names and passwords; a null password keeps the one that is stored."""

    realm = Text(_realm, load_default="Restricted")
    users = fields.Dict(
        keys=Text(_user, required=True),
        values=_Password(length(1, 256), required=True, allow_none=True),
        required=True,
        validate=_at_most(MAX_USERS, "users"),
        error_messages={"required": "is required", "invalid": 'must be an object such as {{"ann": "her password"}}'},
    )


class RateLimitSpec(Spec):
    """What one client address may ask for."""

    requests = Count(1, 1_000_000, required=True)
    seconds = Count(1, 86400, required=True)


class ResponseHeadersSpec(Spec):
    """Header fields of answers, set or taken away."""

    set = fields.Dict(
        keys=Text(_header_name, required=True),
        values=Text(_header_value, required=True),
        validate=_at_most(MAX_HEADERS, "headers"),
        error_messages={"invalid": 'must be an object such as {{"X-Frame-Options": "DENY"}}'},
    )
    remove = fields.List(
        Text(_header_name, required=True),
        validate=_at_most(MAX_HEADERS, "names"),
        error_messages={"invalid": 'must be a list such as ["Server"]'},
    )


class PolicySpec(Spec):
    """The field `policy` of apps and routes."""

    strip_prefix = Flag(allow_none=True)
    balance = _optional(one_of(*BALANCES), enum=[*BALANCES, None])
    sticky = _optional(_token)
    max_body_bytes = Count(0, MAX_BYTES, allow_none=True)
    first_byte_seconds = Number(0.1, 86400, allow_none=True)
    health = Part(HealthSpec, allow_none=True)
    paused = Part(PausedSpec, allow_none=True)
    maintenance = Part(MaintenanceSpec, allow_none=True)
    redirects = fields.List(
        Part(_RedirectSpec),
        allow_none=True,
        validate=_at_most(MAX_REDIRECTS, "redirects"),
        error_messages={"invalid": 'must be a list such as [{{"from": "/old", "to": "https://example.com/new"}}]'},
    )
    https_only = Flag(allow_none=True)
    canonical_host = _optional(names.host_name)
    basic_auth = Part(BasicAuthSpec, allow_none=True)
    allow = fields.List(
        Text(network, required=True),
        allow_none=True,
        validate=_at_most(MAX_NETWORKS, "addresses or networks; null lets everybody in"),
        error_messages={"invalid": 'must be a list such as ["10.0.0.0/8"]'},
    )
    rate_limit = Part(RateLimitSpec, allow_none=True)
    response_headers = Part(ResponseHeadersSpec, allow_none=True)
    compress = Flag(allow_none=True)


def shown(policy: Mapping[str, Any]) -> dict[str, Any]:
    """A stored policy as it may be given back: passwords never are, not even hashed."""
    if "basic_auth" not in policy:
        return dict(policy)
    auth = policy["basic_auth"]
    return {**policy, "basic_auth": {**auth, "users": dict.fromkeys(auth["users"])}}
