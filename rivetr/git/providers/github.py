"""GitHub (docs.github.com, "Webhook events and payloads": push; "Validating webhook deliveries")."""

from collections.abc import Mapping, Sequence
from typing import Any

from rivetr import crypto
from rivetr.git.providers.base import Push, branch_push, section, text, texts


class GitHub:
    """HMAC-SHA256 in `X-Hub-Signature-256`."""

    name = "github"
    push_event = "push"

    def is_signed(self, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        """See `Provider`."""
        return crypto.same(headers.get("x-hub-signature-256", ""), f"sha256={crypto.sign(secret, body)}")

    def event(self, headers: Mapping[str, str]) -> str:
        """See `Provider`."""
        return headers.get("x-github-event", "")

    def delivery_id(self, headers: Mapping[str, str]) -> str:
        """See `Provider`."""
        return headers.get("x-github-delivery", "")

    def pushes(self, payload: Mapping[str, Any]) -> Sequence[Push]:
        """See `Provider`."""
        if payload.get("deleted") is True:
            return []
        urls = texts(section(payload, "repository"), "clone_url", "ssh_url", "html_url", "git_url")
        return branch_push(text(payload, "ref"), text(payload, "after"), urls)
