"""What a route made by hand may be."""

from marshmallow import ValidationError, fields

from rivetr.specs import names
from rivetr.specs.fields import Part, Text
from rivetr.specs.parsing import Spec
from rivetr.specs.policy import PolicySpec


def _some(addresses: list[str]) -> None:
    if not 1 <= len(addresses) <= 64 or len(set(addresses)) != len(addresses):
        raise ValidationError("must be 1 to 64 different addresses")


class RouteSpec(Spec):
    """Body of POST /api/routes."""

    domain = Text(names.host_name, required=True)
    path_prefix = Text(names.path_prefix, load_default="/")
    backends = fields.List(
        Text(names.address, required=True),
        required=True,
        validate=_some,
        error_messages={"required": "is required", "invalid": 'must be a list such as ["127.0.0.1:3000"]'},
    )
    policy = Part(PolicySpec, load_default=dict)
