"""Apps: made, changed, stopped, removed."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import select

from rivetr import config, tasks
from rivetr.actor import Actor
from rivetr.db import session, transaction
from rivetr.engine import routing
from rivetr.errors import Conflict, Invalid, RuntimeUnavailable
from rivetr.models import App, Deployment, Webhook
from rivetr.models.deployment import UNFINISHED
from rivetr.runtimes import detect
from rivetr.services import access, deployments, domains, policies
from rivetr.services.paging import Page, Window
from rivetr.services.paging import page as page_of
from rivetr.specs.git import check_url

_PLAIN_FIELDS = (
    "name", "git_url", "branch", "dockerfile", "port", "healthcheck", "cpu_limit", "memory_limit",
    "environment", "project_id", "strategy", "replicas", "auto_deploy",
)  # fmt: skip
_REMOVAL_SECONDS = 40


def create(actor: Actor, values: Mapping[str, Any]) -> App:
    """A new app from the values of an `AppSpec`. Raises `Forbidden`, `Invalid`, `Conflict`."""
    actor.require("write")
    policy = policies.hashed(values["policy"])
    with transaction() as rows:
        _check(values)
        _refuse_taken_name(values["name"], None)
        app = App(**{name: values[name] for name in _PLAIN_FIELDS}, policy=policies.merged({}, policy))
        rows.add(app)
        rows.flush()
        _apply_rest(app, values)
    routing.publish()
    return app


def update(actor: Actor, id_or_name: str, changes: Mapping[str, Any]) -> App:
    """Change what `changes` names, its `policy` key by key. Raises `Forbidden`, `NotFound`, `Invalid`, `Conflict`.

    A new policy is served when this returns.
    """
    return _change(actor, id_or_name, changes, policies.merged)


def replace(actor: Actor, id_or_name: str, values: Mapping[str, Any]) -> App:
    """Make the app just what `values` (a whole `AppSpec`) say. Raises as `update`."""
    hosts = values["domains"] if values["domains"] is not None else [values["domain"]] if values["domain"] else []
    return _change(actor, id_or_name, {**values, "domains": hosts}, policies.replaced)


def _change(
    actor: Actor, id_or_name: str, changes: Mapping[str, Any], new_policy: Callable[[Any, Any], dict[str, Any]]
) -> App:
    actor.require("write")
    policy = policies.hashed(changes.get("policy", {}))
    with transaction():
        app = access.app_for(actor, id_or_name, "write")
        _check(changes)
        if "name" in changes and changes["name"] != app.name:
            _refuse_taken_name(changes["name"], app.id)
        for name in _PLAIN_FIELDS:
            if name in changes:
                setattr(app, name, changes[name])
        if "policy" in changes:
            app.policy = new_policy(app.policy, policy)
        _apply_rest(app, changes)
    generation = routing.publish()
    if "policy" in changes:
        routing.wait_adopted_if_alive(generation)
    return app


def _check(values: Mapping[str, Any]) -> None:
    settings = config.current()
    if "git_url" in values:
        try:
            check_url(values["git_url"], settings.git.schemes, settings.examples)
        except ValueError as error:
            raise Invalid({"git_url": str(error)}) from None


def _refuse_taken_name(name: str, app_id: str | None) -> None:
    other = session().scalar(select(App.id).where(App.name == name))
    if other is not None and other != app_id:
        raise Conflict(f"There is an app '{name}' already: choose another name.", {"name": "is taken"})


def _apply_rest(app: App, values: Mapping[str, Any]) -> None:
    """The fields that are rows of their own: domains and the webhook secret."""
    hosts = _wanted_hosts(app, values)
    if hosts is not None or "name" in values:
        domains.replace(app, hosts if hosts is not None else [domain.host for domain in app.domains])
    _refuse_strange_canonical_host(app)
    secret = values.get("webhook_secret")
    if secret:
        app.webhook = app.webhook or Webhook()
        app.webhook.set_secret(app.id, secret)
    elif "webhook_secret" in values:
        app.webhook = None


def _refuse_strange_canonical_host(app: App) -> None:
    """Everybody is sent to that host, so it must be one that the app answers at."""
    hosts = app.hosts(config.current().proxy.base_domain)
    if app.policy.get("canonical_host", hosts[0]) not in hosts:
        raise Invalid({"policy.canonical_host": f"must be one of the app's own hosts: {', '.join(hosts)}"})


def _wanted_hosts(app: App, values: Mapping[str, Any]) -> list[str] | None:
    if values.get("domains") is not None:
        return list(values["domains"])
    if "domain" not in values:
        return None
    others = [domain.host for domain in app.domains[1:] if domain.host != values["domain"]]
    return [values["domain"], *others] if values["domain"] else others


def get(actor: Actor, id_or_name: str) -> App:
    """One app. Raises `Forbidden`, `NotFound`."""
    return access.app_for(actor, id_or_name, "read")


def page(actor: Actor, window: Window) -> Page[App]:
    """Apps by name."""
    actor.require("read")
    return page_of(select(App), [App.name], window)


def state(app: App) -> str:
    """`running`, `stopped`, `deploying` or `failed`, as the database knows it."""
    latest = deployments.latest(app.id)
    if latest is not None and latest.is_unfinished:
        return "deploying"
    if app.live_deployment_id and not app.is_stopped:
        return "running"
    if latest is not None and latest.status == "failed" and not app.is_stopped:
        return "failed"
    return "stopped"


def hold(app: App) -> str | None:
    """Why visitors are held off for now: `maintenance`, `paused`, or None when they are not."""
    return next((word for word in ("maintenance", "paused") if word in app.policy), None)


def url(app: App) -> str:
    """Where the app is served."""
    settings = config.current()
    return settings.app_url(app.hosts(settings.proxy.base_domain)[0])


def stop(actor: Actor, id_or_name: str) -> App:
    """Take the app off the air; its route says that it is stopped. Raises `Conflict` when it never ran."""
    with transaction():
        app = access.app_for(actor, id_or_name, "deploy")
        if app.live_deployment_id is None:
            raise Conflict("The app does not run: there is nothing to stop.")
        app.is_stopped = True
    routing.publish()
    tasks.stop_app(app.id)
    return app


def start(actor: Actor, id_or_name: str) -> Deployment:
    """Bring the live release back in new containers. Raises `Conflict` when there is none."""
    app = access.app_for(actor, id_or_name, "deploy")
    live = app.live_deployment
    if live is None or live.release is None:
        raise Conflict("The app has no release yet: deploy it first.")
    return deployments.enqueue(actor, app, live.ref, "restart", live)


restart = start


def delete(actor: Actor, id_or_name: str) -> None:
    """Remove the app with its containers, images, routes and rows; returns when all is gone.

    Raises `RuntimeUnavailable` before anything is touched when no engine answers.
    """
    app = access.app_for(actor, id_or_name, "write")
    app_id, name = app.id, app.name
    settings = config.current()
    if detect.ping(settings.runtime) is None:
        raise RuntimeUnavailable(f"The container engine does not answer, so {name} cannot be removed now; nothing was.")
    session().commit()
    tasks.remove_app(app_id)
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while session().scalar(select(App.id).where(App.id == app_id)) is not None:
        session().commit()
        if time.monotonic() > deadline:
            raise RuntimeUnavailable(f"{name} is still being removed: look again in a moment.")
        time.sleep(0.05)


def is_busy(app: App) -> bool:
    """Whether a deployment of the app waits or runs."""
    query = select(Deployment.id).where(Deployment.app_id == app.id, Deployment.status.in_(UNFINISHED))
    return session().scalar(query.limit(1)) is not None
