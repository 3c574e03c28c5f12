"""Policies: what may be asked for, what a mistake says, and how they are stored."""

import base64
import hashlib
from typing import Any

import pytest

from rivetr.errors import Invalid
from rivetr.services import policies
from rivetr.specs.app import AppSpec
from rivetr.specs.parsing import parse
from rivetr.specs.policy import shown
from rivetr.specs.route import RouteSpec


def checked(policy: Any) -> dict[str, Any]:
    """The policy of a PATCH."""
    found: dict[str, Any] = parse(AppSpec(), {"policy": policy}, partial=True)["policy"]
    return found


WHOLE = {
    "strip_prefix": True,
    "balance": "least_in_flight",
    "sticky": "backend",
    "max_body_bytes": 0,
    "first_byte_seconds": 2.5,
    "health": {"path": "/health", "interval": 10, "timeout": 5, "threshold": 3},
    "paused": {"limit_seconds": 30},
    "maintenance": {"message": "Back at noon."},
    "redirects": [{"from": "/old", "to": "https://x.test/new", "status": 301, "keep_path": True}],
    "https_only": True,
    "canonical_host": "www.example.com",
    "basic_auth": {"realm": "Staff", "users": {"ann": " pass word ", "bob": None}},
    "allow": ["10.0.0.0/8", "2001:db8::/32"],
    "rate_limit": {"requests": 100, "seconds": 60},
    "response_headers": {"set": {"X-Frame-Options": "DENY"}, "remove": ["Server"]},
    "compress": True,
}


def test_every_key_is_taken_as_it_is_given() -> None:
    assert checked(WHOLE) == WHOLE


def test_null_is_taken_for_every_key_and_what_is_not_there_is_not_made_up() -> None:
    assert checked(dict.fromkeys(WHOLE)) == dict.fromkeys(WHOLE)
    assert checked({}) == {}
    assert parse(AppSpec(), {"name": "a", "git_url": "https://x.test/a"})["policy"] == {}
    assert parse(RouteSpec(), {"domain": "a.test", "backends": ["127.0.0.1:1"]})["policy"] == {}


def test_defaults_are_filled_in_and_networks_written_one_way() -> None:
    assert checked({"health": {"path": "/up"}, "paused": {}, "allow": ["10.1.2.3/8", "203.0.113.7"]}) == {
        "health": {"path": "/up", "interval": 10, "timeout": 5, "threshold": 3},
        "paused": {"limit_seconds": 30},
        "allow": ["10.0.0.0/8", "203.0.113.7/32"],
    }
    assert checked({"redirects": [{"from": "/a/", "to": "http://x.test"}]}) == {
        "redirects": [{"from": "/a", "to": "http://x.test", "status": 308, "keep_path": False}]
    }


@pytest.mark.parametrize(
    ("policy", "field", "words"),
    [
        ([], "policy", "must be a JSON object"),
        (None, "policy", "null"),
        ({"alow": []}, "policy.alow", "not known"),
        ({"app": "x"}, "policy.app", "not known"),
        ({"unavailable": "stopped"}, "policy.unavailable", "not known"),
        ({"strip_prefix": "yes"}, "policy.strip_prefix", "true or false"),
        ({"balance": "random"}, "policy.balance", "round_robin"),
        ({"sticky": "a b"}, "policy.sticky", "letters"),
        ({"max_body_bytes": -1}, "policy.max_body_bytes", "0 to"),
        ({"max_body_bytes": True}, "policy.max_body_bytes", "0 to"),
        ({"first_byte_seconds": 0}, "policy.first_byte_seconds", "0.1 to"),
        ({"first_byte_seconds": float("nan")}, "policy.first_byte_seconds", "number"),
        ({"health": {}}, "policy.health.path", "is required"),
        ({"health": {"path": "health"}}, "policy.health.path", "starts with one '/'"),
        ({"paused": {"limit_seconds": 0}}, "policy.paused.limit_seconds", "1 to 600"),
        ({"paused": True}, "policy.paused", "JSON object"),
        ({"maintenance": {}}, "policy.maintenance", "either"),
        ({"maintenance": {"message": "a", "html": "b"}}, "policy.maintenance", "either"),
        ({"redirects": {}}, "policy.redirects", "list"),
        ({"redirects": [{"to": "https://x.test"}]}, "policy.redirects.0.from", "is required"),
        ({"redirects": [{"from": "/", "to": "javascript:alert(1)"}]}, "policy.redirects.0.to", "whole address"),
        ({"redirects": [{"from": "/", "to": "https://x.test/\r\nA: b"}]}, "policy.redirects.0.to", "whole address"),
        (
            {"redirects": [{"from": "/", "to": "https://x.test", "status": 200}]},
            "policy.redirects.0.status",
            "301, 302, 307 or 308",
        ),
        ({"canonical_host": "https://x.test"}, "policy.canonical_host", "host name"),
        ({"basic_auth": {"users": {}}}, "policy.basic_auth.users", "1 to 50"),
        ({"basic_auth": {"users": ["ann"]}}, "policy.basic_auth.users", "object"),
        ({"basic_auth": {"users": {"a:b": "x"}}}, "policy.basic_auth.users.a:b.key", "':'"),
        ({"basic_auth": {"users": {"ann": ""}}}, "policy.basic_auth.users.ann.value", "1 to 256"),
        ({"basic_auth": {"realm": 'a"b', "users": {"a": "b"}}}, "policy.basic_auth.realm", "quotes"),
        ({"allow": []}, "policy.allow", "null lets everybody in"),
        ({"allow": ["10.0.0.0/8", "home"]}, "policy.allow.1", "'home' is no address"),
        ({"rate_limit": {"requests": 5}}, "policy.rate_limit.seconds", "is required"),
        ({"rate_limit": {"requests": 0, "seconds": 1}}, "policy.rate_limit.requests", "1 to"),
        ({"response_headers": {"set": {"X": "a\nb"}}}, "policy.response_headers.set.X.value", "one line"),
        ({"response_headers": {"remove": ["Content-Length"]}}, "policy.response_headers.remove.0", "connection"),
    ],
)
def test_a_mistake_is_named_with_what_is_right(policy: Any, field: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        checked(policy)
    assert list(caught.value.fields) == [field]
    assert words in caught.value.fields[field]


def test_a_password_is_stored_as_the_proxy_checks_it() -> None:
    stored = policies.merged({}, policies.hashed({"basic_auth": {"realm": "Staff", "users": {"ann": "hush"}}}))
    kind, n, r, p, salt, derived = stored["basic_auth"]["users"]["ann"].split("$")
    assert (kind, n, r, p) == ("scrypt", "4096", "8", "1")
    raw = base64.b64decode(salt, validate=True)
    assert len(raw) == 16
    again = hashlib.scrypt(b"hush", salt=raw, n=4096, r=8, p=1, dklen=32)
    assert base64.b64decode(derived, validate=True) == again


def test_a_null_password_keeps_the_stored_one_and_is_all_that_is_shown() -> None:
    first = policies.merged(
        {}, policies.hashed({"basic_auth": {"realm": "A", "users": {"ann": "hush", "bob": "hush"}}})
    )
    assert first["basic_auth"]["users"]["ann"] != first["basic_auth"]["users"]["bob"]
    assert shown(first) == {"basic_auth": {"realm": "A", "users": {"ann": None, "bob": None}}}
    # What is given back may be sent again: nothing changes but what was changed.
    for change in (policies.merged, policies.replaced):
        again = change(first, {"basic_auth": {"realm": "B", "users": {"ann": None}}})
        assert again["basic_auth"] == {"realm": "B", "users": {"ann": first["basic_auth"]["users"]["ann"]}}
    with pytest.raises(Invalid) as caught:
        policies.merged(first, {"basic_auth": {"realm": "A", "users": {"eve": None}}})
    assert list(caught.value.fields) == ["policy.basic_auth.users.eve"]


def test_changes_are_merged_by_key_and_a_replacement_is_whole() -> None:
    stored = {"compress": True, "rate_limit": {"requests": 1, "seconds": 1}, "allow": ["10.0.0.0/8"]}
    changes = {"compress": None, "rate_limit": {"requests": 2, "seconds": 2}, "https_only": True, "sticky": None}
    assert policies.merged(stored, changes) == {
        "rate_limit": {"requests": 2, "seconds": 2},
        "allow": ["10.0.0.0/8"],
        "https_only": True,
    }
    assert policies.replaced(stored, changes) == {"rate_limit": {"requests": 2, "seconds": 2}, "https_only": True}
    assert stored["compress"] is True
