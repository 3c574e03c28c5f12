"""What happens to an app's containers outside a deployment: stopping them, removing all of an app."""

import time

from sqlalchemy import select, update

from rivetr import config
from rivetr.db import session, transaction
from rivetr.engine import routing
from rivetr.engine.pipeline.switch import STOP_GRACE_SECONDS
from rivetr.models import App, Deployment, Release, Setting
from rivetr.models.deployment import ACTIVE, UNFINISHED
from rivetr.runtimes.base import LABEL_DEPLOYMENT, LABEL_INSTANCE, Runtime

_WAIT_FOR_DEPLOYMENT_SECONDS = 20


def stop_app(app_id: str, runtime: Runtime) -> None:
    """Take the app off its route, let it finish what it began, stop its containers."""
    app = session().get(App, app_id)
    if app is None or not app.is_stopped or app.live_deployment is None:
        return
    ids = [backend["container_id"] for backend in app.live_deployment.backends]
    session().commit()
    routing.wait_drained(routing.publish(), config.current().deploy.drain_timeout)
    for id in ids:
        runtime.stop(id, STOP_GRACE_SECONDS)


def remove_app(app_id: str, runtime: Runtime) -> None:
    """Remove the app's route, containers, network and images, then its rows."""
    app = session().get(App, app_id)
    if app is None:
        return
    made = set(session().scalars(select(Deployment.id).where(Deployment.app_id == app_id)))
    network = f"rivetr-{app.id[:13]}"
    images = list(session().scalars(select(Release.image_ref).where(Release.app_id == app_id)))
    instance = session().get_one(Setting, "instance_id").value
    session().commit()
    _end_deployments(app_id)
    routing.publish()
    for container in runtime.containers({LABEL_INSTANCE: instance}):
        # By deployment, not by name: the app may have had another one when the container was made.
        if container.labels.get(LABEL_DEPLOYMENT) in made:
            runtime.remove(container.id)
    runtime.remove_network(network)
    for ref in images:
        runtime.remove_image(ref)
    with transaction() as rows:
        rows.delete(rows.get_one(App, app_id))
    routing.publish()


def _end_deployments(app_id: str) -> None:
    """Cancel what waits and runs, and wait until the running one has cleaned up after itself."""
    mine = Deployment.app_id == app_id
    with transaction() as rows:
        rows.execute(update(Deployment).where(mine, Deployment.status == "pending").values(status="cancelled"))
        rows.execute(update(Deployment).where(mine, Deployment.status.in_(UNFINISHED)).values(cancel_requested=True))
    deadline = time.monotonic() + _WAIT_FOR_DEPLOYMENT_SECONDS
    running = select(Deployment.id).where(mine, Deployment.status.in_(ACTIVE))
    while session().scalar(running) is not None and time.monotonic() < deadline:
        session().commit()
        time.sleep(0.1)
    session().commit()
