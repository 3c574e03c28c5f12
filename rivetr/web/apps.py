"""Pages about apps."""

from collections.abc import Mapping
from typing import Any

from flask import Response, request, url_for
from flask.typing import ResponseReturnValue

from rivetr import config
from rivetr.errors import Conflict, Invalid
from rivetr.models import App
from rivetr.services import apps, deployments, env_vars
from rivetr.services.paging import Window
from rivetr.specs.app import AppSpec
from rivetr.specs.parsing import from_form, parse
from rivetr.web import blueprint, htmx, rules, traffic
from rivetr.web.session import actor

_NEW = {
    "branch": "main", "port": "3000", "dockerfile": "Dockerfile",
    "memory_limit": "512m", "cpu_limit": "1", "replicas": "1",
}  # fmt: skip
_RECENT = 10


def _new_form(status: int, values: Mapping[str, Any], fields: dict[str, str]) -> Response:
    context = {"app": None, "values": values, "fields": fields, "base_domain": config.current().proxy.base_domain}
    return htmx.render("apps/new.html", "apps/_form.html", status, **context)


def _summary(app: App) -> dict[str, Any]:
    return {
        "app": app,
        "state": apps.state(app),
        "url": apps.url(app),
        "hold": apps.hold(app),
        "latest": deployments.latest(app.id),
    }


@blueprint.get("/")
def list_apps() -> ResponseReturnValue:
    found = apps.page(actor(), Window(200, None)).items
    return htmx.render("apps/list.html", "apps/_list.html", summaries=[_summary(app) for app in found])


@blueprint.get("/apps/new")
def new_app() -> ResponseReturnValue:
    return _new_form(200, _NEW, {})


@blueprint.post("/apps/new")
def create_app() -> ResponseReturnValue:
    try:
        app = apps.create(actor(), parse(AppSpec(), from_form(AppSpec(), request.form)))
    except (Invalid, Conflict) as error:
        return _new_form(error.status, request.form, _complaints(error))
    deployment = deployments.deploy(actor(), app.id, None)
    return htmx.go_to(url_for("web.show_deployment", id=deployment.id))


def _complaints(error: Invalid | Conflict) -> dict[str, str]:
    """What stands beside each field; a conflict without one stands above the form."""
    if isinstance(error, Conflict):
        return dict.fromkeys(error.fields, error.message) or {"": error.message}
    return error.fields


@blueprint.get("/apps/<name>")
def show_app(name: str) -> ResponseReturnValue:
    app = apps.get(actor(), name)
    return htmx.render(
        "apps/show.html",
        "apps/_overview.html",
        **_summary(app),
        recent=deployments.page(actor(), app.id, Window(_RECENT, None)).items,
        variables=env_vars.list_all(actor(), app.id),
        hosts=[config.current().app_url(host) for host in app.hosts(config.current().proxy.base_domain)],
        fields={},
        values={},
        # The overview asks anew without it: the traffic's own fragment does that for itself.
        **({} if htmx.is_fragment_request() else traffic.panel(app)),
    )


@blueprint.get("/apps/<name>/settings")
def edit_app(name: str) -> ResponseReturnValue:
    return htmx.render("apps/settings.html", "apps/_form.html", **settings_of(apps.get(actor(), name)))


def settings_of(app: App) -> dict[str, Any]:
    """What the settings page shows: a form for the app, another one for its traffic's rules."""
    values = {field: getattr(app, field) for field in _EDITABLE}
    values["domain"] = app.domains[0].host if app.domains else ""
    return {
        "app": app,
        "values": values,
        "fields": {},
        "base_domain": config.current().proxy.base_domain,
        "rules": rules.shown(app.policy),
        "rule_fields": {},
    }


_EDITABLE = (
    "name", "git_url", "branch", "dockerfile", "port", "healthcheck", "cpu_limit", "memory_limit", "replicas",
    "environment", "auto_deploy",
)  # fmt: skip


@blueprint.post("/apps/<name>/settings")
def change_app(name: str) -> ResponseReturnValue:
    app = apps.get(actor(), name)
    try:
        changes = from_form(AppSpec(), request.form)
        if changes.get("webhook_secret", "") is None:
            # An empty box means "leave it as it is": the secret itself is never shown.
            del changes["webhook_secret"]
        app = apps.update(actor(), app.id, parse(AppSpec(), changes, partial=True))
    except (Invalid, Conflict) as error:
        context = {**settings_of(app), "values": request.form, "fields": _complaints(error)}
        return htmx.render("apps/settings.html", "apps/_form.html", error.status, **context)
    return htmx.go_to(url_for("web.show_app", name=app.name))


@blueprint.post("/apps/<name>/rules")
def change_rules(name: str) -> ResponseReturnValue:
    app = apps.get(actor(), name)
    try:
        changes = {"policy": rules.changes(request.form, app.policy)}
        apps.update(actor(), app.id, parse(AppSpec(), changes, partial=True))
    except Invalid as error:
        context = {**settings_of(app), "rules": request.form, "rule_fields": rules.placed(error.fields)}
        return htmx.render("apps/settings.html", "apps/_rules.html", error.status, **context)
    return htmx.go_to(url_for("web.show_app", name=app.name))


@blueprint.post("/apps/<name>/deploy")
def deploy_app(name: str) -> ResponseReturnValue:
    deployment = deployments.deploy(actor(), name, None)
    return htmx.go_to(url_for("web.show_deployment", id=deployment.id))


@blueprint.post("/apps/<name>/stop")
def stop_app(name: str) -> ResponseReturnValue:
    return htmx.go_to(url_for("web.show_app", name=apps.stop(actor(), name).name))


@blueprint.post("/apps/<name>/start")
def start_app(name: str) -> ResponseReturnValue:
    return htmx.go_to(url_for("web.show_deployment", id=apps.start(actor(), name).id))


@blueprint.post("/apps/<name>/restart")
def restart_app(name: str) -> ResponseReturnValue:
    return htmx.go_to(url_for("web.show_deployment", id=apps.restart(actor(), name).id))


@blueprint.post("/apps/<name>/delete")
def delete_app(name: str) -> ResponseReturnValue:
    if request.form.get("confirm") != name:
        raise Invalid({"confirm": f"type the app's name, {name}, to remove it"})
    apps.delete(actor(), name)
    return htmx.go_to(url_for("web.list_apps"))
