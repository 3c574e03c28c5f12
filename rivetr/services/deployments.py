"""Deployments: asked for, cancelled, rolled back, read."""

from collections.abc import Sequence

from sqlalchemy import select, update

from rivetr import tasks
from rivetr.actor import Actor
from rivetr.db import now, session, transaction
from rivetr.errors import Conflict
from rivetr.models import App, Deployment, DeploymentStage, LogEntry
from rivetr.models.deployment import ACTIVE, UNFINISHED
from rivetr.services import access
from rivetr.services.paging import Page, Window
from rivetr.services.paging import page as page_of


def deploy(actor: Actor, id_or_name: str, ref: str | None, trigger: str = "manual") -> Deployment:
    """Ask for a deployment of `ref`, or of the app's branch. Raises `Forbidden`, `NotFound`."""
    app = access.app_for(actor, id_or_name, "deploy")
    return enqueue(actor, app, ref or app.branch, trigger, None)


def enqueue(actor: Actor, app: App, ref: str, trigger: str, like: Deployment | None) -> Deployment:
    """Write the deployment down and wake the worker; `like` is one whose release is brought back."""
    with transaction():
        deployment = add(actor, app, ref, trigger, like)
    tasks.deploy(deployment.id)
    return deployment


def add(actor: Actor, app: App, ref: str, trigger: str, like: Deployment | None = None) -> Deployment:
    """Write a deployment down inside the caller's transaction; who calls must wake the worker after it."""
    deployment = Deployment(app_id=app.id, ref=ref, trigger=trigger, requested_by=actor.name)
    if like is not None:
        deployment.release_id = like.release_id
        deployment.commit_sha, deployment.commit_message = like.commit_sha, like.commit_message
    session().add(deployment)
    return deployment


def enqueue_next(deployment_id: str) -> None:
    """When a deployment has ended, wake the worker for its app's next one."""
    app_id = session().scalar(select(Deployment.app_id).where(Deployment.id == deployment_id))
    _enqueue_first_pending(app_id)


def enqueue_pending() -> None:
    """Queue what waits again: a task leaves the queue when it starts, so a dead worker's are lost."""
    waiting = select(Deployment.app_id).where(Deployment.status == "pending").distinct()
    for app_id in session().scalars(waiting).all():
        _enqueue_first_pending(app_id)


def _enqueue_first_pending(app_id: str | None) -> None:
    mine = select(Deployment.id).where(Deployment.app_id == app_id)
    active = session().scalar(mine.where(Deployment.status.in_(ACTIVE)).limit(1))
    first = mine.where(Deployment.status == "pending").order_by(Deployment.created_at).limit(1)
    # While one is active its own end does this; asking sooner would only ask again and again.
    waiting = session().scalar(first) if active is None else None
    session().commit()
    if waiting:
        tasks.deploy(waiting)


def cancel(actor: Actor, id: str) -> Deployment:
    """Cancel one that waits at once, one that runs within a second. Raises `Conflict` when it has ended."""
    with transaction() as rows:
        deployment = access.deployment_for(actor, id, "deploy")
        if not deployment.is_unfinished:
            raise Conflict(f"The deployment has ended already ({deployment.status}).")
        deployment.cancel_requested = True
        waiting = update(Deployment).where(Deployment.id == id, Deployment.status == "pending")
        rows.execute(waiting.values(status="cancelled", finished_at=now(), error="Cancelled before it began."))
    return deployment


def roll_back(actor: Actor, id: str) -> Deployment:
    """Bring this deployment's release back, image, environment and settings. Raises `Conflict`."""
    deployment = access.deployment_for(actor, id, "deploy")
    if deployment.release is None:
        raise Conflict("This deployment left no release, so there is nothing to bring back.")
    return enqueue(actor, deployment.app, deployment.ref, "rollback", deployment)


def get(actor: Actor, id: str) -> Deployment:
    """One deployment. Raises `NotFound`."""
    return access.deployment_for(actor, id, "read")


def page(actor: Actor, id_or_name: str, window: Window) -> Page[Deployment]:
    """An app's deployments, newest first."""
    app = access.app_for(actor, id_or_name, "read")
    query = select(Deployment).where(Deployment.app_id == app.id)
    return page_of(query, [Deployment.created_at, Deployment.id], window, descending=True)


def latest(app_id: str) -> Deployment | None:
    """The newest deployment of an app."""
    query = select(Deployment).where(Deployment.app_id == app_id).order_by(Deployment.created_at.desc())
    return session().scalar(query.limit(1))


def log_after(deployment_id: str, after: int, limit: int = 1000) -> Sequence[LogEntry]:
    """Log lines that came after the line with id `after`."""
    query = select(LogEntry).where(LogEntry.deployment_id == deployment_id, LogEntry.id > after)
    return session().scalars(query.order_by(LogEntry.id).limit(limit)).all()


def stages(deployment_id: str) -> Sequence[DeploymentStage]:
    """The stages of a deployment in their order."""
    query = select(DeploymentStage).where(DeploymentStage.deployment_id == deployment_id)
    return session().scalars(query.order_by(DeploymentStage.position)).all()


def unfinished_count() -> int:
    """How many deployments wait or run in all."""
    return len(session().scalars(select(Deployment.id).where(Deployment.status.in_(UNFINISHED))).all())
