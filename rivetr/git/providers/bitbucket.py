"""Bitbucket Cloud (support.atlassian.com, "Event payloads": repo:push; "Secure webhooks")."""

from collections.abc import Mapping, Sequence
from typing import Any

from rivetr import crypto
from rivetr.errors import Unreadable
from rivetr.git.providers.base import Push, checked_commit, section, text


class Bitbucket:
    """HMAC-SHA256 in `X-Hub-Signature`; one event may tell of several branches."""

    name = "bitbucket"
    push_event = "repo:push"

    def is_signed(self, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        """See `Provider`."""
        return crypto.same(headers.get("x-hub-signature", ""), f"sha256={crypto.sign(secret, body)}")

    def event(self, headers: Mapping[str, str]) -> str:
        """See `Provider`."""
        return headers.get("x-event-key", "")

    def delivery_id(self, headers: Mapping[str, str]) -> str:
        """See `Provider`; `X-Hook-UUID` is none: it names the webhook, so it is the same for every push."""
        return headers.get("x-request-uuid", "")

    def pushes(self, payload: Mapping[str, Any]) -> Sequence[Push]:
        """See `Provider`."""
        repository = section(payload, "repository")
        url = text(section(section(repository, "links"), "html"), "href")
        changes = section(payload, "push").get("changes")
        if not isinstance(changes, list):
            raise Unreadable("The event has no list 'changes'.")
        return [push for change in changes for push in _push(change, url)]


def _push(change: object, url: str) -> list[Push]:
    new = change.get("new") if isinstance(change, Mapping) else None
    # A deleted branch has no "new"; a tag has another type.
    if not isinstance(new, Mapping) or new.get("type") != "branch":
        return []
    return [Push((url,), text(new, "name"), checked_commit(text(section(new, "target"), "hash")))]
