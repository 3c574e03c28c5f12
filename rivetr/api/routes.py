"""/api/routes"""

from typing import Any

from rivetr.api import blueprint
from rivetr.api.auth import actor
from rivetr.api.operation import operation
from rivetr.api.serialize import RouteAnswer, whole
from rivetr.services import routes
from rivetr.services.paging import Page, Window
from rivetr.specs.route import RouteSpec


@blueprint.get("/routes")
@operation("List all routes", answer=RouteAnswer, is_list=True)
def list_routes(window: Window) -> Page[routes.RouteView]:
    return whole(routes.list_all(actor()))


@blueprint.post("/routes")
@operation("Make a route by hand", body=RouteSpec, answer=RouteAnswer, status=201)
def create_route(values: dict[str, Any]) -> routes.RouteView:
    return routes.create(actor(), values)


@blueprint.get("/routes/health")
@operation("Show every backend's health")
def routes_health() -> dict[str, Any]:
    return {"items": routes.health(actor())}


@blueprint.get("/routes/<domain>")
@operation("Show the routes of a host", answer=RouteAnswer, is_list=True)
def get_route(domain: str, window: Window) -> Page[routes.RouteView]:
    return whole(routes.get(actor(), domain))


@blueprint.delete("/routes/<domain>")
@operation("Remove the routes made by hand for a host", status=204)
def delete_route(domain: str) -> None:
    routes.delete(actor(), domain)
