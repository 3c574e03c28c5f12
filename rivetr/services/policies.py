"""Policies of routes: changed key by key, passwords hashed on the way in."""

from collections.abc import Mapping
from typing import Any

from rivetr import crypto
from rivetr.errors import Invalid

Policy = dict[str, Any]


def hashed(policy: Mapping[str, Any]) -> Policy:
    """The checked policy with its passwords hashed; it takes milliseconds each, so not inside a transaction."""
    auth = policy.get("basic_auth")
    if not auth:
        return dict(policy)
    users = {name: None if word is None else crypto.hash_visitor_password(word) for name, word in auth["users"].items()}
    return {**policy, "basic_auth": {**auth, "users": users}}


def merged(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> Policy:
    """`stored` with the (hashed) `changes`: null removes a key, a null password keeps the stored one.

    Raises `Invalid` for a user without any password.
    """
    policy = {key: value for key, value in {**stored, **changes}.items() if value is not None}
    auth = policy.get("basic_auth")
    if auth:
        known = stored.get("basic_auth", {}).get("users", {})
        policy["basic_auth"] = {**auth, "users": {name: _kept(name, own, known) for name, own in auth["users"].items()}}
    return policy


def replaced(stored: Mapping[str, Any], whole: Mapping[str, Any]) -> Policy:
    """Just what `whole` (hashed) says; of `stored` only passwords that it keeps. Raises as `merged`."""
    kept = {"basic_auth": stored["basic_auth"]} if whole.get("basic_auth") and "basic_auth" in stored else {}
    return merged(kept, whole)


def _kept(name: str, given: str | None, known: Mapping[str, str]) -> str:
    password = given or known.get(name)
    if password is None:
        raise Invalid({f"policy.basic_auth.users.{name}": "has no password yet: give one"})
    return password
