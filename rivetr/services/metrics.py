"""The instance's figures for a monitoring system; `rivetr.api.metrics` writes them as text."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import select

from rivetr import config, queue
from rivetr.actor import Actor
from rivetr.db import session
from rivetr.engine import routing
from rivetr.errors import Unauthenticated
from rivetr.models import App
from rivetr.services import apps

APP_STATES = ("running", "stopped", "deploying", "failed")
Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure; `suffix` follows the family's name (a histogram has three kinds)."""

    labels: Labels
    value: float
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """Figures of one name; `kind` is counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def is_public() -> bool:
    """Whether anybody may read the figures."""
    return config.current().metrics.public


def collect(actor: Actor | None) -> list[Family]:
    """All figures. Raises `Forbidden`; `Unauthenticated` for nobody unless they are public."""
    if actor is not None:
        actor.require("read")
    elif not is_public():
        raise Unauthenticated("Send 'Authorization: Bearer TOKEN' with the scope read.")
    return list(_families(routing.totals()))


def _families(report: routing.Report) -> Iterator[Family]:
    routes = report.traffic
    yield Family("rivetr_requests_total", "counter", "Requests by route and class of status.", tuple(_classes(routes)))
    yield Family(
        "rivetr_request_seconds", "histogram", "Seconds from a request's head to its answer's end.",
        tuple(sample for route in routes for sample in _histogram(route)),
    )  # fmt: skip
    bytes_in, bytes_out = sum(route.bytes_in for route in routes), sum(route.bytes_out for route in routes)
    yield Family(
        "rivetr_bytes_total", "counter", "Bytes from visitors (in) and to them (out).",
        (Sample({"direction": "in"}, bytes_in), Sample({"direction": "out"}, bytes_out)),
    )  # fmt: skip
    processes = report.processes
    yield _one("rivetr_connections", "Open connections of visitors.", sum(each.connections for each in processes))
    yield _one("rivetr_in_flight", "Requests being answered.", sum(each.in_flight for each in processes))
    yield Family(
        "rivetr_backend_healthy", "gauge", "0 when a proxy process finds the backend unhealthy, else 1.",
        tuple(_health(report)),
    )  # fmt: skip
    found = Counter(apps.state(app) for app in session().scalars(select(App)))
    states = tuple(Sample({"state": state}, found[state]) for state in APP_STATES)
    yield Family("rivetr_apps", "gauge", "Apps by state.", states)
    yield _one("rivetr_queue_depth", "Tasks that wait for the worker.", queue.depth())


def _one(name: str, help: str, value: float) -> Family:
    return Family(name, "gauge", help, (Sample({}, value),))


def _route(route: routing.Traffic) -> Labels:
    return {"host": route.host, "path_prefix": route.path_prefix}


def _classes(routes: Iterable[routing.Traffic]) -> Iterator[Sample]:
    for route in routes:
        for number, count in enumerate(route.statuses, 1):
            yield Sample({**_route(route), "class": f"{number}xx"}, count)


def _histogram(route: routing.Traffic) -> Iterator[Sample]:
    labels, seen = _route(route), 0
    for bound, count in zip(routing.LATENCY_BOUNDS, route.buckets, strict=True):
        seen += count
        yield Sample({**labels, "le": "+Inf" if bound == float("inf") else f"{bound:g}"}, seen, "_bucket")
    yield Sample(labels, route.seconds, "_sum")
    yield Sample(labels, seen, "_count")


def _health(report: routing.Report) -> Iterator[Sample]:
    healthy: dict[str, bool] = {}
    for state in report.backends:
        healthy[state.address] = healthy.get(state.address, True) and state.health != "unhealthy"
    for address, is_healthy in sorted(healthy.items()):
        yield Sample({"address": address}, int(is_healthy))
