"""Pages about deployments."""

from flask import jsonify, request, url_for
from flask.typing import ResponseReturnValue

from rivetr.errors import Invalid
from rivetr.services import apps, deployments
from rivetr.web import blueprint, htmx
from rivetr.web.session import actor

_LINES_A_LOOK = 1000


@blueprint.get("/deployments/<id>")
def show_deployment(id: str) -> ResponseReturnValue:
    deployment = deployments.get(actor(), id)
    status = 200 if deployment.is_unfinished or not htmx.is_fragment_request() else htmx.STOP_POLLING
    return htmx.render(
        "deployments/show.html",
        "deployments/_progress.html",
        status,
        deployment=deployment,
        app=deployment.app,
        url=apps.url(deployment.app),
        stages=deployments.stages(id),
        lines=[] if htmx.is_fragment_request() else deployments.log_after(id, 0, 5000),
    )


@blueprint.get("/deployments/<id>/log")
def log_lines(id: str) -> ResponseReturnValue:
    """What came after a line, for browsers whose WebSocket does not get through."""
    after = request.args.get("after", "0")
    if not after.isascii() or not after.isdigit() or len(after) > 18:
        raise Invalid({"after": "must be the number of a line"})
    deployment = deployments.get(actor(), id)
    entries = deployments.log_after(id, int(after), _LINES_A_LOOK)
    is_over = not deployment.is_unfinished and not entries
    return jsonify(
        items=[{"id": entry.id, "stage": entry.stage, "line": entry.line} for entry in entries],
        status=deployment.status if is_over else None,
    )


@blueprint.post("/deployments/<id>/cancel")
def cancel_deployment(id: str) -> ResponseReturnValue:
    return htmx.go_to(url_for("web.show_deployment", id=deployments.cancel(actor(), id).id))


@blueprint.post("/deployments/<id>/rollback")
def roll_back_deployment(id: str) -> ResponseReturnValue:
    return htmx.go_to(url_for("web.show_deployment", id=deployments.roll_back(actor(), id).id))
