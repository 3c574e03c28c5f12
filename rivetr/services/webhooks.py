"""Webhooks: a call with a good signature becomes deployments, once."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from sqlalchemy import delete, select, update

from rivetr import config, tasks
from rivetr.actor import WEBHOOK
from rivetr.db import now, session, transaction
from rivetr.errors import NotFound, Unauthenticated, Unreadable
from rivetr.git.providers import PROVIDERS
from rivetr.git.providers.base import Provider, Push
from rivetr.models import App, Delivery, Deployment, Webhook
from rivetr.services import deployments
from rivetr.specs.git import repository_key

_KEPT = timedelta(days=30)
_CONFIGURED = {
    "github": "github_secret",
    "gitlab": "gitlab_token",
    "gitea": "gitea_secret",
    "bitbucket": "bitbucket_secret",
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery: the ids of its deployments, and why it started none now (empty when it did)."""

    deployments: Sequence[str] = ()
    ignored: str = ""


@dataclass(frozen=True, slots=True)
class _Signer:
    """Whose secret fits: some apps' own, or the configured one, which stands for apps without their own."""

    app_ids: frozenset[str]
    is_configured: bool

    def may_deploy(self, app: App) -> bool:
        return app.id in self.app_ids or (self.is_configured and app.webhook is None)


def receive(provider_name: str, headers: Mapping[str, str], body: bytes) -> Receipt:
    """Take a webhook call; `headers` are named in lower case.

    Raises `NotFound`, `Unauthenticated` (before anything was parsed or stored), `Unreadable`.
    """
    provider = PROVIDERS.get(provider_name)
    if provider is None:
        raise NotFound(f"There is no webhook '{provider_name}': use one of {', '.join(PROVIDERS)}.")
    signer = _signer(provider, headers, body)
    event = provider.event(headers)
    if event != provider.push_event:
        return Receipt(ignored=f"The event '{event[:100]}' starts nothing; only pushes do.")
    pushes = provider.pushes(_payload(headers, body))
    if not pushes:
        return Receipt(ignored="The push brings no commits to a branch; tags and deletions start nothing.")
    delivery_id = provider.delivery_id(headers)[:200] or hashlib.sha256(body).hexdigest()
    delivery = Delivery(provider=provider.name, delivery_id=delivery_id, event=event, deployments=[])
    receipt = _store(delivery, pushes, signer)
    if not receipt.ignored:
        for id in receipt.deployments:
            tasks.deploy(id)
    return receipt


def _signer(provider: Provider, headers: Mapping[str, str], body: bytes) -> _Signer:
    """Who signed. Every secret is tried, so that the time taken tells nothing of which one fits."""
    fits = [
        webhook.app_id
        for webhook in session().scalars(select(Webhook)).all()
        if provider.is_signed(headers, body, webhook.secret)
    ]
    configured = getattr(config.current().webhooks, _CONFIGURED[provider.name])
    is_configured = bool(configured) and provider.is_signed(headers, body, configured)
    if not fits and not is_configured:
        raise Unauthenticated(
            "The signature fits no webhook secret here: give your Git server the app's webhook secret, "
            f"or set webhooks.{_CONFIGURED[provider.name]}."
        )
    return _Signer(frozenset(fits), is_configured)


def _payload(headers: Mapping[str, str], body: bytes) -> Mapping[str, Any]:
    try:
        text = body.decode("utf-8")
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            text = parse_qs(text, strict_parsing=True, max_num_fields=10)["payload"][0]
        payload = json.loads(text)
    except (ValueError, KeyError, RecursionError):
        raise Unreadable("The body is not valid JSON.") from None
    if not isinstance(payload, Mapping):
        raise Unreadable("The body must be a JSON object.")
    return payload


def _store(delivery: Delivery, pushes: Sequence[Push], signer: _Signer) -> Receipt:
    """The delivery and its deployments in one transaction: a repetition finds both or neither.

    A delivery starts each app once. The id alone would not do, because the webhooks that tell of one event may
    share it (GitHub, REST API, "guid": "shared with all deliveries for all webhooks"), each signed for its own apps.
    """
    same = select(Delivery).where(Delivery.provider == delivery.provider, Delivery.delivery_id == delivery.delivery_id)
    with transaction() as rows:
        rows.execute(delete(Delivery).where(Delivery.received_at < now() - _KEPT))
        kept = rows.scalar(same) or delivery
        before = rows.scalars(select(Deployment).where(Deployment.id.in_(kept.deployments))).all()
        done = {deployment.app_id for deployment in before}
        wanted = [(app, push) for push in pushes for app in _apps(push, signer) if app.id not in done]
        if not wanted:
            return _nothing_new([deployment.id for deployment in before if signer.may_deploy(deployment.app)])
        started = [_start(app, push) for app, push in wanted]
        rows.flush()
        ids = [deployment.id for deployment in started]
        kept.deployments = [*kept.deployments, *ids]
        rows.add(kept)
    return Receipt(ids)


def _nothing_new(before: Sequence[str]) -> Receipt:
    if before:
        return Receipt(before, "This delivery was received before.")
    return Receipt(ignored="No app here deploys this repository and branch by itself.")


def _apps(push: Push, signer: _Signer) -> Iterator[App]:
    keys = {key for url in push.urls if (key := _key(url))}
    for app in session().scalars(select(App).where(App.branch == push.branch, App.auto_deploy)):
        if _key(app.git_url) in keys and signer.may_deploy(app):
            yield app


def _key(url: str) -> str:
    try:
        return repository_key(url)
    except ValueError:
        return ""


def _start(app: App, push: Push) -> Deployment:
    """A deployment of just what was pushed; pushes of this app that still wait are overtaken by it."""
    waiting = update(Deployment).where(
        Deployment.app_id == app.id, Deployment.status == "pending", Deployment.trigger == "webhook"
    )
    session().execute(
        waiting.values(status="superseded", finished_at=now(), error="A newer push came before this began.")
    )
    return deployments.add(WEBHOOK, app, push.commit, "webhook")
