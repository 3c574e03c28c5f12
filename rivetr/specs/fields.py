"""Marshmallow fields for our own kinds of value, each around one rule of `names`, `quantities` or `git`."""

from collections.abc import Callable
from typing import Any

from marshmallow import ValidationError, fields

from rivetr.specs.parsing import Spec

Rule = Callable[[str], object]


class Text(fields.String):
    """A text that obeys a rule; the rule's result is kept when it is a text."""

    keeps_blank = False

    def __init__(self, rule: Rule | None = None, **options: Any) -> None:
        if not options.get("required"):
            options.setdefault("load_default", None)
        options.setdefault("allow_none", options.get("load_default", "") is None and not options.get("required"))
        options["error_messages"] = {
            "required": "is required",
            "null": "must not be null",
            "invalid": "must be a text",
            **options.get("error_messages", {}),
        }
        super().__init__(**options)
        self.rule = rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise ValidationError("must not contain NUL or lone surrogates")
        if self.rule is None:
            return text
        try:
            checked = self.rule(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return checked if isinstance(checked, str) else text


class Count(fields.Integer):
    """A whole number from `least` to `most`."""

    def __init__(self, least: int, most: int, **options: Any) -> None:
        complaint = f"must be {least} to {most}"
        options["error_messages"] = {
            "required": "is required",
            "null": complaint,
            "invalid": complaint,
            "too_large": complaint,
        }
        super().__init__(strict=True, validate=lambda n: _within(n, least, most, complaint), **options)
        self.metadata = {**self.metadata, "minimum": least, "maximum": most}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        # bool is an int to Python and a text of digits is one to marshmallow; neither is one in JSON.
        if isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


def _within(number: float, least: float, most: float, complaint: str) -> None:
    if not least <= number <= most:
        raise ValidationError(complaint)


class Number(fields.Float):
    """A number from `least` to `most`, whole or not."""

    def __init__(self, least: float, most: float, **options: Any) -> None:
        self._complaint = f"must be a number from {least:g} to {most:g}"
        words = ("required", "null", "invalid", "too_large", "special")
        options["error_messages"] = {**dict.fromkeys(words, self._complaint), "required": "is required"}
        super().__init__(validate=lambda n: _within(n, least, most, self._complaint), **options)
        self.metadata = {**self.metadata, "minimum": least, "maximum": most}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        # A whole number stays one, so that it is shown as it was given.
        return value if isinstance(value, int) else super()._deserialize(value, attr, data, **kwargs)


class Part(fields.Nested):
    """An object inside the body; it is given whole, also where the body around it may be given in parts."""

    def __init__(self, spec: type[Spec], **options: Any) -> None:
        super().__init__(spec, error_messages={"required": "is required", "null": "must not be null"}, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, partial: Any = None, **kwargs: Any) -> Any:
        return super()._deserialize(value, attr, data, partial=False, **kwargs)


class Flag(fields.Boolean):
    """true or false, and nothing that merely looks like them."""

    def __init__(self, **options: Any) -> None:
        complaint = "must be true or false"
        options["error_messages"] = {"required": "is required", "null": complaint, "invalid": complaint}
        super().__init__(truthy={True}, falsy={False}, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


def one_of(*words: str) -> Rule:
    """A rule that allows just these words."""

    def rule(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return rule


def length(least: int, most: int) -> Callable[[str], str]:
    """A rule that bounds the number of characters."""

    def rule(text: str) -> str:
        if not least <= len(text) <= most:
            raise ValueError(f"must have {least} to {most} characters")
        return text

    return rule
