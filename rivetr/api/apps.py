"""/api/apps"""

from typing import Any

from rivetr.api import blueprint
from rivetr.api.auth import actor
from rivetr.api.operation import operation
from rivetr.api.serialize import AppAnswer, DeploymentAnswer, status
from rivetr.models import App, Deployment
from rivetr.services import app_stats as stats
from rivetr.services import apps, deployments
from rivetr.services.paging import Page, Window
from rivetr.specs.app import AppSpec
from rivetr.specs.deployment import DeploySpec


@blueprint.get("/apps")
@operation("List the apps", answer=AppAnswer, is_list=True)
def list_apps(window: Window) -> Page[App]:
    return apps.page(actor(), window)


@blueprint.post("/apps")
@operation("Make an app", body=AppSpec, answer=AppAnswer, status=201)
def create_app(values: dict[str, Any]) -> App:
    return apps.create(actor(), values)


@blueprint.get("/apps/<app>")
@operation("Show an app", answer=AppAnswer)
def get_app(app: str) -> App:
    return apps.get(actor(), app)


@blueprint.put("/apps/<app>")
@operation("Replace an app's settings", body=AppSpec, answer=AppAnswer)
def put_app(app: str, values: dict[str, Any]) -> App:
    return apps.replace(actor(), app, values)


@blueprint.patch("/apps/<app>")
@operation("Change some of an app's settings", body=AppSpec, answer=AppAnswer, partial=True)
def patch_app(app: str, values: dict[str, Any]) -> App:
    return apps.update(actor(), app, values)


@blueprint.delete("/apps/<app>")
@operation("Remove an app with all that belongs to it", status=204)
def delete_app(app: str) -> None:
    apps.delete(actor(), app)


@blueprint.get("/apps/<app>/status")
@operation("Say whether an app runs, and where")
def app_status(app: str) -> dict[str, Any]:
    found = apps.get(actor(), app)
    return status(found, apps.state(found), apps.url(found))


@blueprint.get("/apps/<app>/stats")
@operation("Say what the running containers use")
def app_stats(app: str) -> dict[str, Any]:
    return stats.read(actor(), app)


@blueprint.post("/apps/<app>/deploy")
@operation("Deploy an app", body=DeploySpec, answer=DeploymentAnswer, status=202, body_optional=True)
def deploy_app(app: str, values: dict[str, Any]) -> Deployment:
    return deployments.deploy(actor(), app, values["ref"], "api")


@blueprint.post("/apps/<app>/start")
@operation("Start a stopped app", answer=DeploymentAnswer, status=202)
def start_app(app: str) -> Deployment:
    return apps.start(actor(), app)


@blueprint.post("/apps/<app>/restart")
@operation("Run the live release in new containers", answer=DeploymentAnswer, status=202)
def restart_app(app: str) -> Deployment:
    return apps.restart(actor(), app)


@blueprint.post("/apps/<app>/stop")
@operation("Stop an app", status=202)
def stop_app(app: str) -> dict[str, Any]:
    stopped = apps.stop(actor(), app)
    return status(stopped, "stopped", apps.url(stopped))
