"""`@operation` says once what an endpoint takes and gives; requests are checked by it and OpenAPI made from it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Response, jsonify, request
from werkzeug.exceptions import BadRequest

from rivetr.errors import Unreadable
from rivetr.services.paging import Window
from rivetr.specs.parsing import Spec, parse

MAX_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint as the OpenAPI document describes it."""

    summary: str
    body: type[Spec] | None = None
    answer: type[Spec] | None = None
    is_list: bool = False
    status: int = 200
    partial: bool = False
    body_optional: bool = False
    is_public: bool = False


def operation(
    summary: str, body: type[Spec] | None = None, answer: type[Spec] | None = None, status: int = 200, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Describe a view. One that takes a body gets its checked values as `values`, a list its `window`.

    The view gives what `answer` serializes: an object, or a `Page` when `is_list`.
    """
    described = Operation(summary, body, answer, status=status, **options)

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def inner(**arguments: Any) -> Any:
            if described.body is not None:
                arguments["values"] = _values(described, described.body())
            if described.is_list:
                arguments["window"] = Window.parse(request.args.get("limit"), request.args.get("cursor"))
            return _respond(described, view(**arguments))

        inner.operation = described  # type: ignore[attr-defined]
        return inner

    return decorate


def _values(described: Operation, body: Spec) -> dict[str, Any]:
    if not request.get_data(cache=True) and described.body_optional:
        return parse(body, {})
    if request.mimetype != "application/json":
        raise Unreadable("Send the body as JSON, with 'Content-Type: application/json'.")
    try:
        content = request.get_json()
    except (BadRequest, RecursionError):
        raise Unreadable("The body is not valid JSON.") from None
    return parse(body, content, partial=described.partial)


def _respond(described: Operation, result: Any) -> Any:
    if isinstance(result, Response):
        return result
    if described.status == 204:
        return "", 204
    if described.answer is None:
        return jsonify(result), described.status
    schema = described.answer()
    if described.is_list:
        return jsonify({"items": schema.dump(result.items, many=True), "next": result.next}), described.status
    return jsonify(schema.dump(result)), described.status
