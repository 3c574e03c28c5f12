"""The common ones of an app's policy as a form: what it shows, what it asks for, where its mistakes stand."""

import re
from collections.abc import Mapping
from typing import Any

from rivetr.errors import Invalid
from rivetr.specs.quantities import byte_count, shortest

# A policy's field (or what begins with it) and the form's field beside which a complaint about it stands.
_PLACES = (
    ("policy.basic_auth.users.", "auth_password"),
    ("policy.basic_auth", "auth_user"),
    ("policy.maintenance", "maintenance_message"),
    ("policy.rate_limit.seconds", "rate_seconds"),
    ("policy.rate_limit", "rate_requests"),
    ("policy.max_body_bytes", "max_body"),
    ("policy.allow", "allow"),
    ("policy.paused", "paused"),
)
DEFAULT_MESSAGE = "We are working on this site. It will be back soon."


def shown(policy: Mapping[str, Any]) -> dict[str, Any]:
    """The form's values for a stored policy."""
    rate = policy.get("rate_limit", {})
    users = list(policy.get("basic_auth", {}).get("users", {}))
    limit = policy.get("max_body_bytes")
    return {
        "paused": "paused" in policy,
        "maintenance": "maintenance" in policy,
        "maintenance_message": policy.get("maintenance", {}).get("message", ""),
        "https_only": policy.get("https_only", False),
        "compress": policy.get("compress", False),
        "auth_user": users[0] if len(users) == 1 else "",
        "allow": ", ".join(policy.get("allow", [])),
        "rate_requests": rate.get("requests", ""),
        "rate_seconds": rate.get("seconds", ""),
        "max_body": shortest(limit) if limit is not None else "",
    }


def changes(form: Mapping[str, str], policy: Mapping[str, Any]) -> dict[str, Any]:
    """What the form asks to change, as the `policy` of a PATCH. Raises `Invalid` in the form's own fields."""
    asked: dict[str, Any] = {
        "https_only": True if "https_only" in form else None,
        "compress": True if "compress" in form else None,
        "allow": _words(form.get("allow", "")) or None,
        "rate_limit": _rate(form),
        "max_body_bytes": _max_body(form),
    }
    # What the form cannot say (another limit, a page of one's own, several users) it leaves as it is.
    if "paused" not in form or "paused" not in policy:
        asked["paused"] = {} if "paused" in form else None
    message = form.get("maintenance_message", "").strip()
    if "maintenance" not in form:
        asked["maintenance"] = None
    elif message or "maintenance" not in policy:
        asked["maintenance"] = {"message": message or DEFAULT_MESSAGE}
    if "auth_user" in form:
        asked["basic_auth"] = _auth(form, policy)
    return asked


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _auth(form: Mapping[str, str], policy: Mapping[str, Any]) -> dict[str, Any] | None:
    user, password = form["auth_user"].strip(), form.get("auth_password", "")
    if not user and password:
        raise Invalid({"auth_user": "is missing: a password needs a name"})
    realm = policy.get("basic_auth", {}).get("realm")
    return {"users": {user: password or None}, **({"realm": realm} if realm else {})} if user else None


def _rate(form: Mapping[str, str]) -> dict[str, Any] | None:
    requests, seconds = (form.get(name, "").strip() for name in ("rate_requests", "rate_seconds"))
    if not requests and not seconds:
        return None
    return {"requests": _number("rate_requests", requests), "seconds": _number("rate_seconds", seconds or "60")}


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Invalid({name: "must be a whole number"})
    return int(text)


def _max_body(form: Mapping[str, str]) -> int | None:
    text = form.get("max_body", "").strip()
    try:
        return byte_count(text) if text else None
    except ValueError as error:
        raise Invalid({"max_body": str(error)}) from None


def placed(fields: Mapping[str, str]) -> dict[str, str]:
    """Complaints about a policy, beside the fields of the form that they are about."""
    return {_place(name): why for name, why in fields.items()}


def _place(name: str) -> str:
    if name.startswith("policy.basic_auth.users.") and name.endswith(".key"):
        return "auth_user"
    return next((place for start, place in _PLACES if name.startswith(start)), name.removeprefix("policy."))
