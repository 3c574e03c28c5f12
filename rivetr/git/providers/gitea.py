"""Gitea and Forgejo (docs.gitea.com, "Webhooks")."""

from collections.abc import Mapping, Sequence
from typing import Any

from rivetr import crypto
from rivetr.git.providers.base import Push, branch_push, section, text, texts


class Gitea:
    """HMAC-SHA256 in `X-Gitea-Signature`, as bare hexadecimal."""

    name = "gitea"
    push_event = "push"

    def is_signed(self, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        """See `Provider`."""
        return crypto.same(headers.get("x-gitea-signature", ""), crypto.sign(secret, body))

    def event(self, headers: Mapping[str, str]) -> str:
        """See `Provider`."""
        return headers.get("x-gitea-event", "")

    def delivery_id(self, headers: Mapping[str, str]) -> str:
        """See `Provider`."""
        return headers.get("x-gitea-delivery", "")

    def pushes(self, payload: Mapping[str, Any]) -> Sequence[Push]:
        """See `Provider`."""
        urls = texts(section(payload, "repository"), "clone_url", "ssh_url", "html_url")
        return branch_push(text(payload, "ref"), text(payload, "after"), urls)
