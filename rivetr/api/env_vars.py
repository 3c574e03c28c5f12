"""/api/apps/{app}/env-vars"""

from typing import Any

from rivetr.api import blueprint
from rivetr.api.auth import actor
from rivetr.api.operation import operation
from rivetr.api.serialize import EnvVarAnswer, whole
from rivetr.models import EnvVar
from rivetr.services import env_vars
from rivetr.services.paging import Page, Window
from rivetr.specs.env_var import EnvVarChange, EnvVarSpec
from rivetr.specs.parsing import parse


@blueprint.get("/apps/<app>/env-vars")
@operation("List an app's environment variables", answer=EnvVarAnswer, is_list=True)
def list_env_vars(app: str, window: Window) -> Page[EnvVar]:
    return whole(list(env_vars.list_all(actor(), app)))


@blueprint.post("/apps/<app>/env-vars")
@operation("Add an environment variable", body=EnvVarSpec, answer=EnvVarAnswer, status=201)
def create_env_var(app: str, values: dict[str, Any]) -> EnvVar:
    return env_vars.create(actor(), app, values)


@blueprint.get("/apps/<app>/env-vars/<key>")
@operation("Show an environment variable", answer=EnvVarAnswer)
def get_env_var(app: str, key: str) -> EnvVar:
    return env_vars.get(actor(), app, key)


@blueprint.put("/apps/<app>/env-vars/<key>")
@operation("Set an environment variable", body=EnvVarChange, answer=EnvVarAnswer)
def put_env_var(app: str, key: str, values: dict[str, Any]) -> EnvVar:
    checked = parse(EnvVarSpec(), {"key": key, **values})
    return env_vars.put(actor(), app, key, checked)


@blueprint.delete("/apps/<app>/env-vars/<key>")
@operation("Remove an environment variable", status=204)
def delete_env_var(app: str, key: str) -> None:
    env_vars.delete(actor(), app, key)
