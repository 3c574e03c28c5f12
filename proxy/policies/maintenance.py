"""`maintenance`: everybody gets 503, with the owner's sentence or the owner's own page."""

from collections.abc import Mapping
from typing import Any

from proxy.policies.base import Answer, BadValue, Gate, text

_RETRY_SECONDS = 120
_DEFAULT = "This app is being worked on. Try again in a few minutes."


def gate(policy: Mapping[str, Any]) -> Gate | None:
    """503 with Retry-After for all; `html` counts before `message`, which stays the text for clients without HTML."""
    if "maintenance" not in policy:
        return None
    value = policy["maintenance"]
    if not isinstance(value, Mapping):
        raise BadValue("not an object with message or html")
    message, html = text(value.get("message", ""), "message"), text(value.get("html", ""), "html")
    answer = Answer(
        503,
        message.strip() or _DEFAULT,
        "maintenance is switched on; switch it off on the app's page.",
        ((b"Retry-After", b"%d" % _RETRY_SECONDS),),
        html,
    )
    return lambda _asked: answer
