"""Stage 6: the route moves to the new containers; the old ones finish what they began, then stop."""

from rivetr import config
from rivetr.db import transaction
from rivetr.engine import routing
from rivetr.engine.pipeline.journal import Journal
from rivetr.engine.pipeline.plan import HealthyBackend, Plan
from rivetr.errors import SwitchFailed
from rivetr.models import App, Deployment
from rivetr.runtimes.base import Runtime

STOP_GRACE_SECONDS = 10


def switch(plan: Plan, backends: list[HealthyBackend], runtime: Runtime, journal: Journal) -> None:
    """Publish, wait until adopted, drain, stop the old. Raises `SwitchFailed`, with the old route back."""
    previous = _take_over(plan, backends)
    try:
        generation = routing.publish()
        routing.wait_adopted(generation)
    except (SwitchFailed, OSError):
        _give_back(plan, previous)
        routing.publish()
        raise
    journal.shield()
    _retire(previous[0])
    journal.line("The new version serves.")
    if plan.replaced:
        patience = config.current().deploy.drain_timeout
        if not routing.wait_drained(generation, patience):
            journal.line(f"Requests to the old version still ran after {patience} seconds and are cut off.")
        for id in plan.replaced:
            runtime.stop(id, STOP_GRACE_SECONDS)
            runtime.remove(id)
        journal.line("The old version has ended.")


def _take_over(plan: Plan, backends: list[HealthyBackend]) -> tuple[str | None, bool]:
    """Make this deployment the app's live one; gives which was, and whether the app was stopped."""
    with transaction() as rows:
        app = rows.get_one(App, plan.app_id)
        previous = (app.live_deployment_id, app.is_stopped)
        deployment = rows.get_one(Deployment, plan.deployment_id)
        deployment.backends = [{"container_id": b.container.id, "address": b.address} for b in backends]
        app.live_deployment_id, app.is_stopped = deployment.id, False
    return previous


def _give_back(plan: Plan, previous: tuple[str | None, bool]) -> None:
    with transaction() as rows:
        app = rows.get_one(App, plan.app_id)
        app.live_deployment_id, app.is_stopped = previous


def _retire(previous: str | None) -> None:
    """The switch is made, so the old deployment's row says so before it has drained."""
    if previous is None:
        return
    with transaction() as rows:
        old = rows.get(Deployment, previous)
        if old is not None:
            old.status, old.backends = "stopped", []
