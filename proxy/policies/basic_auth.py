"""`basic_auth`: only who knows a name and its password passes (RFC 7617).

`passwords.py` describes the format of the hashes and how their cost is kept in bounds. The
Authorization field goes on to the backend unchanged, as with nginx: a backend may want the name. So an
app behind this policy cannot use that field for tokens of its own.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from proxy.policies.base import Answer, Asked, BadValue, Gate, text
from proxy.policies.client import subscriber
from proxy.policies.passwords import Stored, Verifier, decoy, parse
from proxy.policies.rate_limit import too_many

_LONGEST_VALUE = 2048
_LONGEST_REALM = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VISITOR = "Sign in with the name and the password that the app's owner gave you."
_TOO_MANY = "Too many passwords are being tried now. Try again in a moment."
_OWNER = "passwords are tried faster than the proxy verifies them; those who signed in before are not affected."

# One for all routes: what it guards, the event loop, is one for all routes too.
_verifier = Verifier()


def gate(policy: Mapping[str, Any], verifier: Verifier = _verifier) -> Gate | None:
    """401 until the right credentials come, 429 when they come faster than they can be verified."""
    if "basic_auth" not in policy:
        return None
    value = policy["basic_auth"]
    if not isinstance(value, Mapping):
        raise BadValue("not an object with realm and users")
    refused = Answer(401, _VISITOR, fields=((b"WWW-Authenticate", _challenge(value.get("realm", "Restricted"))),))
    users = _users(value.get("users"))
    nobody = decoy(next(iter(users.values())))

    def check(asked: Asked) -> Answer | None:
        given = _credentials(asked)
        if given is None:
            return refused
        name, password = given
        outcome = verifier.check(users.get(name, nobody), name, password, subscriber(asked.peer))
        if outcome is True:
            return None
        return too_many(_TOO_MANY, _OWNER, outcome) if outcome else refused

    return check


def _challenge(realm: object) -> bytes:
    realm = text(realm, "realm")
    if _CONTROL.search(realm) or len(realm) > _LONGEST_REALM:
        raise BadValue("realm is too long or holds control characters")
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{quoted}", charset="UTF-8"'.encode()


def _users(value: object) -> dict[bytes, Stored]:
    if not isinstance(value, Mapping) or not value:
        raise BadValue("users is not an object that holds at least one name")
    users = {}
    for name, hashed in value.items():
        # A client cannot send a name with a colon: that is where the password begins.
        if not name or ":" in text(name, "a name") or _CONTROL.search(name):
            raise BadValue("a name is empty, or holds a colon or control characters")
        users[name.encode()] = parse(text(hashed, "a password's hash"))
    return users


def _credentials(asked: Asked) -> tuple[bytes, bytes] | None:
    """Name and password, or None when there are none that could be right."""
    values = asked.values(b"authorization")
    # With two, we might believe one and the backend the other.
    if len(values) != 1 or len(values[0]) > _LONGEST_VALUE:
        return None
    scheme, _, encoded = values[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = b64decode(encoded.strip(b" "), validate=True)
        decoded.decode()
    except ValueError:
        return None
    name, colon, password = decoded.partition(b":")
    return (name, password) if colon else None
