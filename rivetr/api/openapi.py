"""/api/openapi.json and /api/docs, made from the views' `@operation`s and their schemas."""

import re
from typing import Any

from flask import current_app, jsonify, render_template
from werkzeug.routing import Rule

import rivetr
from rivetr.api import blueprint
from rivetr.api.operation import Operation, operation

_ERRORS = {
    400: "The body cannot be read",
    401: "No credentials, or wrong ones",
    403: "The token lacks the scope",
    404: "Not there, or not yours",
    409: "Contradicts what is there",
    413: "The body is too large",
    422: "Invalid values",
    429: "Too many requests",
    503: "Something this needs does not answer; see Retry-After",
}
_METHODS_WITH_BODY = ("post", "put", "patch")


@blueprint.get("/openapi.json")
@operation("This document", is_public=True)
def document() -> Any:
    return jsonify(describe())


@blueprint.get("/docs")
def docs() -> str:
    return render_template("api_docs.html", document=describe())


def _inline(_schema: Any) -> Any:
    """No name: every schema stands where it is used."""


def describe() -> dict[str, Any]:
    """The OpenAPI 3.1 document of this instance."""
    # Heavy, and wanted rarely.
    from apispec import APISpec
    from apispec.ext.marshmallow import MarshmallowPlugin

    spec = APISpec(
        title="Rivetr",
        version=rivetr.__version__,
        openapi_version="3.1.0",
        plugins=[MarshmallowPlugin(schema_name_resolver=_inline)],
        security=[{"token": []}],
    )
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    spec.components.schema("Error", _ERROR)
    for rule in current_app.url_map.iter_rules():
        described = getattr(current_app.view_functions[rule.endpoint], "operation", None)
        if described is not None and not rule.websocket:
            _add(spec, rule, described)
    document: dict[str, Any] = spec.to_dict()
    return document


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "fields": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        }
    },
}


def _add(spec: Any, rule: Rule, described: Operation) -> None:
    path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in sorted(rule.arguments)
    ]
    if described.is_list:
        parameters += [
            {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 200}},
            {"name": "cursor", "in": "query", "schema": {"type": "string"}},
        ]
    operations = {
        method.lower(): _operation(rule, described, parameters, method.lower())
        for method in sorted(rule.methods or ())
        if method not in ("HEAD", "OPTIONS")
    }
    spec.path(path=path, operations=operations)


def _operation(rule: Rule, described: Operation, parameters: list[dict[str, Any]], method: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": described.summary}
    schema: Any = described.answer
    if schema is not None:
        if described.is_list:
            schema = {
                "type": "object",
                "required": ["items", "next"],
                "properties": {
                    "items": {"type": "array", "items": schema},
                    "next": {"type": ["string", "null"]},
                },
            }
        answer["content"] = {"application/json": {"schema": schema}}
    result: dict[str, Any] = {
        "operationId": rule.endpoint.rpartition(".")[2],
        "summary": described.summary,
        "parameters": parameters,
        "responses": {str(described.status): answer, **_errors()},
    }
    if described.is_public:
        result["security"] = []
    if described.body is not None and method in _METHODS_WITH_BODY:
        body = described.body(partial=True) if described.partial else described.body
        result["requestBody"] = {
            "required": not described.body_optional,
            "content": {"application/json": {"schema": body}},
        }
    return result


def _errors() -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": text, "content": content} for status, text in _ERRORS.items()}
