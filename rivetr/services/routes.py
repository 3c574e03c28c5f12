"""Routes made by hand, and the view of all routes and their backends' health."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from rivetr import config
from rivetr.actor import Actor
from rivetr.db import session, transaction
from rivetr.engine import routing
from rivetr.errors import Conflict, NotFound
from rivetr.models import App, ManualRoute
from rivetr.services import domains, policies
from rivetr.specs.policy import shown

RouteView = dict[str, Any]


def create(actor: Actor, values: Mapping[str, Any]) -> RouteView:
    """A route served at once. Raises `Conflict` when an app owns the host or the route is there."""
    actor.require("write")
    policy = policies.merged({}, policies.hashed(values["policy"]))
    with transaction() as rows:
        domains.claim([values["domain"]], None)
        route = ManualRoute(**{**values, "policy": policy})
        same = select(ManualRoute.id).where(
            ManualRoute.domain == route.domain, ManualRoute.path_prefix == route.path_prefix
        )
        if rows.scalar(same):
            raise Conflict(f"There is a route for {route.domain}{route.path_prefix} already.", {"domain": "is taken"})
        rows.add(route)
    routing.wait_adopted_if_alive(routing.publish())
    return _by_hand(route)


def list_all(actor: Actor) -> list[RouteView]:
    """All routes, those of apps first."""
    actor.require("read")
    base = config.current().proxy.base_domain
    views = [view for app in session().scalars(select(App).order_by(App.name)) for view in _of_app(app, base)]
    return views + [_by_hand(route) for route in session().scalars(select(ManualRoute).order_by(ManualRoute.domain))]


def get(actor: Actor, domain: str) -> list[RouteView]:
    """The routes of one host. Raises `NotFound`."""
    found = [view for view in list_all(actor) if view["domain"] == domain]
    if not found:
        raise NotFound(f"There is no route for '{domain}'.")
    return found


def delete(actor: Actor, domain: str) -> None:
    """Remove the routes made by hand for a host. Raises `NotFound`, `Conflict` for an app's route."""
    actor.require("write")
    if any(view["app"] for view in get(actor, domain)):
        raise Conflict(f"The route for {domain} belongs to an app: change the app's domains instead.")
    with transaction() as rows:
        for route in rows.scalars(select(ManualRoute).where(ManualRoute.domain == domain)):
            rows.delete(route)
    routing.publish()


def health(actor: Actor) -> list[dict[str, Any]]:
    """Each route's backends, as the proxies see them now."""
    seen: dict[str, list[Any]] = {}
    for state in routing.backend_states():
        seen.setdefault(state.address, []).append(state)
    containers = _containers()
    return [
        {
            "domain": view["domain"],
            "backends": [_backend(a, containers.get(a), seen.get(a, [])) for a in view["backends"]],
        }
        for view in list_all(actor)
    ]


def _backend(address: str, container_id: str | None, states: Sequence[Any]) -> dict[str, Any]:
    return {
        "address": address,
        "container_id": container_id,
        "health": states[0].health if states else "unknown",
        "in_flight": sum(state.in_flight for state in states),
    }


def _containers() -> dict[str, str]:
    return {
        backend["address"]: backend["container_id"]
        for app in session().scalars(select(App).where(App.live_deployment_id.is_not(None)))
        for backend in (app.live_deployment.backends if app.live_deployment else [])
    }


def _of_app(app: App, base_domain: str) -> list[RouteView]:
    live = app.live_deployment if not app.is_stopped else None
    backends = [backend["address"] for backend in live.backends] if live else []
    policy = shown(app.policy)
    return [
        {"domain": host, "path_prefix": "/", "backends": backends, "app": app.name, "policy": policy}
        for host in app.hosts(base_domain)
    ]


def _by_hand(route: ManualRoute) -> RouteView:
    policy = shown(route.policy)
    return {
        "domain": route.domain, "path_prefix": route.path_prefix, "backends": route.backends, "app": None,
        "policy": policy,
    }  # fmt: skip
