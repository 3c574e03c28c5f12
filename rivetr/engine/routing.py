"""The control plane's only door to the proxy: publish the route table, wait until it is adopted or drained."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from proxy import contract
from rivetr import config
from rivetr.db import session
from rivetr.errors import SwitchFailed
from rivetr.models import App, Deployment, ManualRoute

# What proxies count, for those who may not import their package.
Minute = contract.Minute
Traffic = contract.Traffic
LATENCY_BOUNDS = contract.LATENCY_BOUNDS
quantile = contract.quantile

# Between two looks at what the proxies acknowledged; adopting takes about a millisecond.
_LOOK_SECONDS = 0.005
# Between two questions who is alive; each also says "look now" again.
_PING_SECONDS = 0.25


@contextmanager
def _files() -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    settings = config.current()
    routes = contract.open_routes(settings.routes_database)
    state = contract.open_state(settings.proxy_database)
    try:
        yield routes, state
    finally:
        routes.close()
        state.close()


def publish() -> int:
    """Derive the route table from the database, publish it, wake the proxies; gives its generation."""
    snapshot = contract.Snapshot(routes=tuple(_routes()))
    with _files() as (routes, state):
        generation = contract.publish(routes, snapshot)
        contract.wake(state, config.current().routes_database)
    return generation


def _routes() -> Iterator[contract.Route]:
    base_domain = config.current().proxy.base_domain
    live = selectinload(App.live_deployment).selectinload(Deployment.release)
    apps = select(App).options(selectinload(App.domains), live)
    for app in session().scalars(apps):
        backends: tuple[contract.Backend, ...] = ()
        if app.live_deployment and not app.is_stopped:
            backends = tuple(contract.Backend(b["address"]) for b in app.live_deployment.backends)
        policy = {**_check(app), **app.policy, "app": app.name}
        if not backends:
            policy["unavailable"] = "stopped" if app.is_stopped else "starting"
        for host in app.hosts(base_domain):
            yield contract.Route(host, "/", backends, policy)
    for route in session().scalars(select(ManualRoute)):
        addresses = tuple(contract.Backend(address) for address in route.backends)
        yield contract.Route(route.domain, route.path_prefix, addresses, route.policy)


def _check(app: App) -> dict[str, Any]:
    """The active check of an app that says nothing of one: the path that its live image answered at when it started.

    Not the path as it stands in the settings now: it may be that of a version not deployed yet.
    """
    release = app.live_deployment.release if app.live_deployment else None
    path = release.settings.get("healthcheck") if release else app.healthcheck
    return {"health": {"path": path, "interval": 10, "timeout": 5, "threshold": 3}} if path else {}


def wait_adopted(generation: int, timeout_seconds: float = 10) -> None:
    """Wait until every live proxy process serves `generation`. Raises `SwitchFailed`."""
    if not _wait(generation, timeout_seconds, lambda worker: worker.adopted):
        raise SwitchFailed("The proxy did not take over the new routes in time: is it running? See 'rivetr status'.")


def wait_drained(generation: int, timeout_seconds: float) -> bool:
    """Wait until no request is in flight to what left the table by `generation`; False when time ran out."""
    if not live_proxies():
        return True
    return _wait(generation, timeout_seconds, lambda worker: worker.drained)


def _wait(generation: int, timeout_seconds: float, reached: Callable[[contract.Worker], int]) -> bool:
    deadline = time.monotonic() + timeout_seconds
    database = config.current().routes_database
    next_ping = 0.0
    alive: set[int] = set()
    with _files() as (_, state):
        while True:
            if time.monotonic() >= next_ping:
                alive = {worker.pid for worker in contract.wake(state, database)}
                next_ping = time.monotonic() + _PING_SECONDS
            known = [worker for worker in contract.workers(state) if worker.pid in alive]
            if known and all(reached(worker) >= generation for worker in known):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)


def live_proxies() -> list[contract.Worker]:
    """The proxy processes that are alive."""
    with _files() as (_, state):
        return contract.wake(state, config.current().routes_database)


def backend_states() -> list[contract.BackendState]:
    """How the proxies see their backends."""
    with _files() as (_, state):
        return contract.backend_states(state)


@dataclass(frozen=True, slots=True)
class Report:
    """What the proxies say of themselves now; `backends` and `processes` are of live ones only."""

    backends: tuple[contract.BackendState, ...]
    processes: tuple[contract.ProcessState, ...]
    traffic: tuple[contract.Traffic, ...] = ()
    minutes: tuple[contract.Minute, ...] = ()


def totals() -> Report:
    """Every route's counters, summed over all proxies that ever ran on this file."""
    with _files() as (_, state):
        return Report(*_live_states(state), traffic=tuple(contract.traffic(state)))


def recent(since_minute: int, hosts: Sequence[str]) -> Report:
    """What the routes of `hosts` did minute by minute."""
    with _files() as (_, state):
        return Report(*_live_states(state), minutes=tuple(contract.minutes(state, since_minute, hosts)))


def _live_states(
    state: sqlite3.Connection,
) -> tuple[tuple[contract.BackendState, ...], tuple[contract.ProcessState, ...]]:
    alive = {worker.pid for worker in contract.wake(state, config.current().routes_database)}
    backends = tuple(each for each in contract.backend_states(state) if each.pid in alive)
    return backends, tuple(each for each in contract.processes(state) if each.pid in alive)


def wait_adopted_if_alive(generation: int, timeout_seconds: float = 1) -> bool:
    """Wait a moment for the proxies to serve `generation`; with none alive they do so when they start."""
    return bool(live_proxies()) and _wait(generation, timeout_seconds, lambda worker: worker.adopted)
