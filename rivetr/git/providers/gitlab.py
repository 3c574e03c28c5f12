"""GitLab (docs.gitlab.com, "Webhook events": push events)."""

from collections.abc import Mapping, Sequence
from typing import Any

from rivetr import crypto
from rivetr.git.providers.base import Push, branch_push, section, text, texts


class GitLab:
    """The secret itself in `X-Gitlab-Token`."""

    name = "gitlab"
    push_event = "Push Hook"

    def is_signed(self, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        """See `Provider`."""
        return crypto.same(headers.get("x-gitlab-token", ""), secret)

    def event(self, headers: Mapping[str, str]) -> str:
        """See `Provider`."""
        return headers.get("x-gitlab-event", "")

    def delivery_id(self, headers: Mapping[str, str]) -> str:
        """See `Provider`; the idempotency key stays the same when GitLab tries again.

        `X-Gitlab-Webhook-UUID` is none: it names the webhook, so it is the same for every push.
        """
        return headers.get("idempotency-key", "") or headers.get("x-gitlab-event-uuid", "")

    def pushes(self, payload: Mapping[str, Any]) -> Sequence[Push]:
        """See `Provider`."""
        urls = texts(section(payload, "project"), "git_http_url", "git_ssh_url", "web_url")
        return branch_push(text(payload, "ref"), text(payload, "after"), urls)
