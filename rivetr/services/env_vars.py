"""Environment variables of an app; they reach its containers with the next deployment or restart."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from rivetr.actor import Actor
from rivetr.db import session, transaction
from rivetr.errors import Conflict, NotFound
from rivetr.models import App, EnvVar
from rivetr.services import access


def list_all(actor: Actor, id_or_name: str) -> Sequence[EnvVar]:
    """The app's variables by key."""
    app = access.app_for(actor, id_or_name, "read")
    return session().scalars(select(EnvVar).where(EnvVar.app_id == app.id).order_by(EnvVar.key)).all()


def get(actor: Actor, id_or_name: str, key: str) -> EnvVar:
    """One variable. Raises `NotFound`."""
    return _find(access.app_for(actor, id_or_name, "read"), key)


def _find(app: App, key: str) -> EnvVar:
    found = session().scalar(select(EnvVar).where(EnvVar.app_id == app.id, EnvVar.key == key))
    if found is None:
        raise NotFound(f"{app.name} has no variable '{key}'.")
    return found


def create(actor: Actor, id_or_name: str, values: Mapping[str, Any]) -> EnvVar:
    """A new variable. Raises `Conflict` when the key is there already."""
    with transaction():
        app = access.app_for(actor, id_or_name, "write")
        if session().scalar(select(EnvVar.id).where(EnvVar.app_id == app.id, EnvVar.key == values["key"])):
            message = f"{app.name} has a variable '{values['key']}' already: change that one."
            raise Conflict(message, {"key": "is taken"})
        return _store(app, values["key"], values)


def put(actor: Actor, id_or_name: str, key: str, values: Mapping[str, Any]) -> EnvVar:
    """Set a variable, new or not."""
    with transaction():
        return _store(access.app_for(actor, id_or_name, "write"), key, values)


def _store(app: App, key: str, values: Mapping[str, Any]) -> EnvVar:
    variable = session().scalar(select(EnvVar).where(EnvVar.app_id == app.id, EnvVar.key == key))
    if variable is None:
        variable = EnvVar(app_id=app.id, key=key)
        session().add(variable)
    variable.is_secret = values["is_secret"]
    variable.set_value(app.id, values["value"])
    return variable


def delete(actor: Actor, id_or_name: str, key: str) -> None:
    """Remove a variable. Raises `NotFound`."""
    with transaction() as rows:
        rows.delete(_find(access.app_for(actor, id_or_name, "write"), key))
