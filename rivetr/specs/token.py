"""What an API token may be."""

from datetime import UTC, datetime

from marshmallow import ValidationError, fields

from rivetr.actor import SCOPES
from rivetr.specs.fields import Text, length, one_of
from rivetr.specs.parsing import Spec


def _some(scopes: list[str]) -> None:
    if not scopes or len(set(scopes)) != len(scopes):
        raise ValidationError(f"must be some of {', '.join(SCOPES)}, each once")


def _in_future(moment: datetime) -> None:
    if moment.tzinfo is None or moment <= datetime.now(UTC):
        raise ValidationError("must be a time in the future with its zone, such as 2030-01-31T12:00:00Z")


class TokenSpec(Spec):
    """Body of POST /api/tokens."""

    name = Text(length(1, 100), required=True)
    scopes = fields.List(
        Text(one_of(*SCOPES), required=True),
        required=True,
        validate=_some,
        error_messages={"required": "is required", "invalid": "must be a list of scopes"},
    )
    expires_at = fields.DateTime(
        format="iso",
        load_default=None,
        allow_none=True,
        validate=_in_future,
        error_messages={"invalid": "must be a time such as 2030-01-31T12:00:00Z"},
    )
