"""May they? One function a noun gives the row or `NotFound`, also for what is not the caller's."""

from sqlalchemy import or_, select

from rivetr.actor import Actor, Scope
from rivetr.db import session
from rivetr.errors import NotFound
from rivetr.models import App, Deployment


def app_for(actor: Actor, id_or_name: str, need: Scope) -> App:
    """The app with this id or name. Raises `Forbidden`, `NotFound`."""
    actor.require(need)
    app = session().scalar(select(App).where(or_(App.id == id_or_name, App.name == id_or_name)))
    if app is None:
        raise NotFound(f"There is no app '{id_or_name}'.")
    return app


def deployment_for(actor: Actor, id: str, need: Scope) -> Deployment:
    """The deployment with this id. Raises `Forbidden`, `NotFound`."""
    actor.require(need)
    deployment = session().get(Deployment, id)
    if deployment is None:
        raise NotFound(f"There is no deployment '{id}'.")
    return deployment
