"""The dashboard's pages: spec, service, render."""

from flask import Blueprint

from rivetr.web import session

__all__ = ["blueprint", "register_views", "session"]

blueprint = Blueprint("web", __name__)
blueprint.before_request(session.require_sign_in)


def register_views() -> None:
    """Import the modules whose views register themselves on the blueprint."""
    from rivetr.web import accounts, apps, deployments, env_vars, headers, traffic  # noqa: F401
