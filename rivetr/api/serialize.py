"""What the API says of each noun: marshmallow schemas that dump rows and describe the answers."""

from datetime import UTC, datetime
from typing import Any

from marshmallow import fields

from rivetr.actor import SCOPES
from rivetr.models import App, EnvVar
from rivetr.models.deployment import FINAL, UNFINISHED
from rivetr.services import deployments
from rivetr.services.paging import Page
from rivetr.specs.parsing import Spec
from rivetr.specs.policy import shown


class Moment(fields.Field[datetime]):
    """RFC 3339 in UTC with `Z`."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return moment(value) if value is not None else None


def moment(value: datetime) -> str:
    """A time as RFC 3339 in UTC with `Z`."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class AppAnswer(Spec):
    """An app."""

    id = fields.String()
    name = fields.String()
    git_url = fields.String()
    branch = fields.String()
    dockerfile = fields.String()
    domain = fields.Function(
        lambda app: app.domains[0].host if app.domains else None, metadata={"type": ["string", "null"]}
    )
    domains = fields.Function(
        lambda app: [d.host for d in app.domains], metadata={"type": "array", "items": {"type": "string"}}
    )
    port = fields.Integer()
    healthcheck = fields.String(allow_none=True)
    cpu_limit = fields.String()
    memory_limit = fields.String()
    environment = fields.String()
    project_id = fields.String(allow_none=True)
    strategy = fields.String()
    replicas = fields.Integer()
    auto_deploy = fields.Boolean()
    policy = fields.Function(lambda app: shown(app.policy), metadata={"type": "object"})
    created_at = Moment()
    updated_at = Moment()


class StageAnswer(Spec):
    """How one stage of a deployment went."""

    name = fields.String()
    status = fields.String()
    started_at = Moment()
    finished_at = Moment()
    seconds = fields.Float(allow_none=True)


class DeploymentAnswer(Spec):
    """A deployment."""

    id = fields.String()
    app_id = fields.String()
    commit_sha = fields.String(allow_none=True)
    commit_message = fields.String(allow_none=True)
    ref = fields.String()
    trigger = fields.String()
    status = fields.String(metadata={"enum": [*UNFINISHED, *FINAL]})
    failed_stage = fields.String(allow_none=True)
    error = fields.String(allow_none=True)
    stages = fields.List(fields.Nested(StageAnswer))
    container_id = fields.String(allow_none=True)
    image = fields.String(allow_none=True)
    created_at = Moment()
    started_at = Moment()
    finished_at = Moment()


class LogEntryAnswer(Spec):
    """A line of a deployment's log."""

    id = fields.Integer()
    time = Moment()
    stage = fields.String()
    line = fields.String()


class EnvVarAnswer(Spec):
    """An environment variable; a secret's value is never given back."""

    key = fields.String()
    value = fields.Method("_value", metadata={"type": ["string", "null"]})
    is_secret = fields.Boolean()

    def _value(self, variable: EnvVar) -> str | None:
        return None if variable.is_secret else variable.value


class RouteAnswer(Spec):
    """A route; `app` is the app that owns it, null for one made by hand."""

    domain = fields.String()
    path_prefix = fields.String()
    backends = fields.List(fields.String())
    app = fields.String(allow_none=True)
    policy = fields.Dict()


class TokenAnswer(Spec):
    """A token; `token` is the secret, in the answer to its making only."""

    id = fields.String()
    name = fields.String()
    scopes = fields.List(fields.String(metadata={"enum": list(SCOPES)}))
    token = fields.String()
    created_at = Moment()
    expires_at = Moment()
    last_used_at = Moment()


def whole(items: list[Any]) -> Page[Any]:
    """A list that is never paged, in the form of one that is."""
    return Page(items, None)


def status(app: App, state: str, url: str) -> dict[str, Any]:
    """Answer of GET /api/apps/{app}/status."""
    live = app.live_deployment
    latest = deployments.latest(app.id)
    return {
        "state": state,
        "containers": [backend["container_id"] for backend in live.backends] if live else [],
        "url": url,
        "deployment_id": latest.id if latest else None,
    }
