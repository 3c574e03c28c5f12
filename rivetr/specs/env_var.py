"""What an environment variable may be."""

from marshmallow import ValidationError, validates_schema

from rivetr.specs import names
from rivetr.specs.fields import Flag, Text
from rivetr.specs.parsing import Spec


def _key(text: str) -> str:
    if not names.ENV_KEY.fullmatch(text):
        raise ValueError("must be letters, digits and '_', not starting with a digit, at most 255")
    return text


class _Value(Text):
    """A value is kept to the letter, blanks included."""

    keeps_blank = True


class EnvVarChange(Spec):
    """Body of PUT /api/apps/{app}/env-vars/{KEY}."""

    value = _Value(required=True)
    is_secret = Flag(load_default=False)

    @validates_schema
    def _fits_an_environment(self, data: dict[str, object], **_: object) -> None:
        size = len(str(data.get("key", "")).encode()) + 1 + len(str(data.get("value", "")).encode())
        if size > names.MAX_ENV_BYTES:
            raise ValidationError("is too long: Linux takes at most 128 KiB a variable; keep it in a file", "value")


class EnvVarSpec(EnvVarChange):
    """Body of POST /api/apps/{app}/env-vars."""

    key = Text(_key, required=True)
