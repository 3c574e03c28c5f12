"""From a mapping somebody sent to checked values, or `Invalid` naming every field at fault."""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields

from rivetr.errors import Invalid


class Spec(Schema):
    """Root of all schemas: unknown fields are errors, so that a typo is never lost."""

    error_messages = {"unknown": "is not known here", "type": "must be a JSON object"}  # noqa: RUF012


def parse(spec: Spec, values: object, *, partial: bool = False) -> dict[str, Any]:
    """The checked values of `spec`, defaults filled in unless `partial`. Raises `Invalid`."""
    try:
        loaded: dict[str, Any] = spec.load(values, partial=partial)  # type: ignore[arg-type]
    except ValidationError as error:
        raise Invalid(_flatten(error.messages)) from None
    return loaded


def _flatten(messages: object, prefix: str = "") -> dict[str, str]:
    if isinstance(messages, Mapping):
        flat: dict[str, str] = {}
        for name, inner in messages.items():
            # What is wrong with an object as a whole is said of the object.
            label = prefix.rstrip(".") or "body" if name == "_schema" else f"{prefix}{name}"
            flat.update(_flatten(inner, f"{label}.") if isinstance(inner, Mapping) else {label: _sentence(inner)})
        return flat
    return {prefix.rstrip("."): _sentence(messages)}


def _sentence(messages: object) -> str:
    return " ".join(str(m) for m in messages) if isinstance(messages, list) else str(messages)


def from_form(spec: Spec, form: Mapping[str, str]) -> dict[str, object]:
    """What a browser's form says, as the JSON it stands for.

    An empty text is null where null is allowed and left out elsewhere; a box that is not ticked is
    not sent, so a boolean that the form offers (`NAME__offered`) and does not send is false.
    """
    values: dict[str, object] = {}
    for name, field in spec.fields.items():
        text = form.get(name)
        if isinstance(field, fields.Boolean):
            if text is not None or f"{name}__offered" in form:
                values[name] = text in ("on", "true", "1")
        elif text is None:
            continue
        elif text.strip() == "" and not getattr(field, "keeps_blank", False):
            if field.allow_none:
                values[name] = None
            elif field.required:
                values[name] = ""
        elif isinstance(field, fields.Integer) and text.strip().lstrip("-").isdigit():
            values[name] = int(text)
        else:
            values[name] = text if getattr(field, "keeps_blank", False) else text.strip()
    return values
