"""After something died: deployments that nobody runs any more end, and what they left is removed.

The deployment's row is the truth. Each running deployment holds a lock file, which the kernel
frees however its process ends; so an unfinished row whose lock is free has nobody behind it.
"""

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import select

from rivetr import config
from rivetr.db import now, session, transaction
from rivetr.engine import routing
from rivetr.engine.pipeline.recording import finish
from rivetr.engine.pipeline.switch import STOP_GRACE_SECONDS
from rivetr.errors import RivetrError, RuntimeUnavailable, StageFailed
from rivetr.models import App, Deployment, DeploymentStage, Setting
from rivetr.models.deployment import ACTIVE, STAGE_STATUS
from rivetr.runtimes.base import LABEL_DEPLOYMENT, LABEL_INSTANCE, Container, Runtime

_BROKEN_OFF = "The process that ran this deployment died: what it had made is removed. Deploy again."


@contextlib.contextmanager
def held(deployment_id: str) -> Iterator[bool]:
    """Hold the deployment's lock file; False when another process does."""
    path = _lock_file(deployment_id)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
        path.unlink(missing_ok=True)


def _lock_file(deployment_id: str) -> Path:
    return config.current().locks / f"deployment-{deployment_id}.lock"


def reconcile(connect: Callable[[], Runtime]) -> None:
    """End abandoned deployments, remove strays that carry our label, publish what should serve."""
    for deployment_id in session().scalars(select(Deployment.id).where(Deployment.status.in_(ACTIVE))).all():
        session().commit()
        with held(deployment_id) as abandoned:
            if abandoned:
                _end(deployment_id)
    # Without an engine the routes still hold: containers may well answer while it does not.
    with contextlib.suppress(RuntimeUnavailable):
        _settle_containers(connect())
    routing.publish()


def _end(deployment_id: str) -> None:
    with transaction() as rows:
        deployment = rows.get_one(Deployment, deployment_id)
        live = rows.get_one(App, deployment.app_id).live_deployment_id == deployment_id
        stage = next((name for name, status in STAGE_STATUS.items() if status == deployment.status), "validate")
        for row in rows.scalars(
            select(DeploymentStage).where(
                DeploymentStage.deployment_id == deployment_id, DeploymentStage.status == "running"
            )
        ):
            stage = row.name
            row.status, row.finished_at = ("done" if live else "failed"), now()
        if live:
            # It died between the switch and the old version's end: it serves, so it made it.
            deployment.status, deployment.finished_at = "running", now()
            return
    failure: RivetrError = StageFailed(_BROKEN_OFF)
    failure.stage = stage  # type: ignore[attr-defined]
    finish(deployment_id, failure)
    shutil.rmtree(config.current().checkouts / deployment_id, ignore_errors=True)


def _settle_containers(runtime: Runtime) -> None:
    """Remove containers of deployments that neither serve nor run; bring back and re-address those that serve."""
    instance = session().get_one(Setting, "instance_id").value
    session().commit()
    serving: dict[str, list[Container]] = {}
    for container in runtime.containers({LABEL_INSTANCE: instance}):
        deployment_id = container.labels.get(LABEL_DEPLOYMENT, "")
        # Asked for each container anew: deployments go on while we look.
        role = _role(deployment_id)
        if role == "serving":
            container = container if container.status == "running" else _started(container, runtime)
            serving.setdefault(deployment_id, []).append(container)
        elif role == "stopped":
            runtime.stop(container.id, STOP_GRACE_SECONDS)
        elif role == "stray":
            runtime.remove(container.id)
    for deployment_id, containers in serving.items():
        _readdress(deployment_id, containers)


def _role(deployment_id: str) -> str:
    """What a deployment's containers are for: `busy` ones are another process's business."""
    try:
        deployment = session().get(Deployment, deployment_id)
        if deployment is None:
            return "stray"
        app = session().get_one(App, deployment.app_id)
        # A switch drains the old version's containers while its own deployment is still active.
        active = select(Deployment.id).where(Deployment.app_id == app.id, Deployment.status.in_(ACTIVE))
        if session().scalar(active.limit(1)) is not None:
            return "busy"
        if app.live_deployment_id != deployment_id:
            return "stray"
        return "stopped" if app.is_stopped else "serving"
    finally:
        session().commit()


def _started(container: Container, runtime: Runtime) -> Container:
    try:
        return runtime.start(container.id)
    except RuntimeUnavailable:
        raise
    except RivetrError:
        # It cannot be started; its route stays and answers 502, and the dashboard shows why.
        return container


def _readdress(deployment_id: str, containers: list[Container]) -> None:
    """An engine that restarted may have given other addresses."""
    addresses = {container.id: container.address for container in containers if container.address}
    with transaction() as rows:
        deployment = rows.get_one(Deployment, deployment_id)
        moved = []
        for backend in deployment.backends:
            host = addresses.get(backend["container_id"])
            port = backend["address"].rpartition(":")[2]
            moved.append({**backend, "address": f"{host}:{port}"} if host else backend)
        if moved != deployment.backends:
            deployment.backends = moved
