"""/api/deployments, and the list below an app"""

from rivetr.api import blueprint
from rivetr.api.auth import actor
from rivetr.api.operation import operation
from rivetr.api.serialize import DeploymentAnswer, LogEntryAnswer, whole
from rivetr.models import Deployment, LogEntry
from rivetr.services import deployments
from rivetr.services.paging import Page, Window

_MAX_LINES = 100_000


@blueprint.get("/apps/<app>/deployments")
@operation("List an app's deployments, newest first", answer=DeploymentAnswer, is_list=True)
def list_deployments(app: str, window: Window) -> Page[Deployment]:
    return deployments.page(actor(), app, window)


@blueprint.get("/deployments/<id>")
@operation("Show a deployment", answer=DeploymentAnswer)
def get_deployment(id: str) -> Deployment:
    return deployments.get(actor(), id)


@blueprint.get("/deployments/<id>/logs")
@operation("Read a deployment's log", answer=LogEntryAnswer, is_list=True)
def deployment_log(id: str, window: Window) -> Page[LogEntry]:
    deployment = deployments.get(actor(), id)
    return whole(list(deployments.log_after(deployment.id, 0, _MAX_LINES)))


@blueprint.post("/deployments/<id>/cancel")
@operation("Cancel a deployment", answer=DeploymentAnswer, status=202)
def cancel_deployment(id: str) -> Deployment:
    return deployments.cancel(actor(), id)


@blueprint.post("/deployments/<id>/rollback")
@operation("Bring a deployment's release back", answer=DeploymentAnswer, status=202)
def roll_back_deployment(id: str) -> Deployment:
    return deployments.roll_back(actor(), id)
