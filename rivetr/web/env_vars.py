"""The part of an app's page that is about its environment."""

from flask import request, url_for
from flask.typing import ResponseReturnValue

from rivetr.errors import Invalid
from rivetr.services import apps, env_vars
from rivetr.specs.env_var import EnvVarSpec
from rivetr.specs.parsing import from_form, parse
from rivetr.web import blueprint, htmx
from rivetr.web.session import actor


@blueprint.post("/apps/<name>/env-vars")
def set_env_var(name: str) -> ResponseReturnValue:
    fields: dict[str, str] = {}
    try:
        values = parse(EnvVarSpec(), from_form(EnvVarSpec(), request.form))
        env_vars.put(actor(), name, values["key"], values)
    except Invalid as error:
        fields = error.fields
    return _answer(name, fields)


@blueprint.post("/apps/<name>/env-vars/<key>/delete")
def delete_env_var(name: str, key: str) -> ResponseReturnValue:
    env_vars.delete(actor(), name, key)
    return _answer(name, {})


def _answer(name: str, fields: dict[str, str]) -> ResponseReturnValue:
    if not htmx.is_fragment_request() and not fields:
        return htmx.go_to(url_for("web.show_app", name=name) + "#environment")
    app = apps.get(actor(), name)
    return htmx.render(
        "apps/environment.html",
        "apps/_environment.html",
        422 if fields else 200,
        app=app,
        variables=env_vars.list_all(actor(), app.id),
        fields=fields,
        values=request.form if fields else {},
    )
