"""The REST API under /api, and `/health`: parse, call one service, serialize (docs/api.md)."""

from flask import Blueprint

blueprint = Blueprint("api", __name__, url_prefix="/api")
public = Blueprint("public", __name__)


def register_views() -> None:
    """Import the modules whose views register themselves on the blueprints."""
    from rivetr.api import (  # noqa: F401
        apps,
        deployments,
        env_vars,
        health,
        metrics,
        openapi,
        routes,
        streams,
        system,
        tokens,
    )
