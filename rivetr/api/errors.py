"""Errors as the API's JSON."""

from flask import Response, jsonify

from rivetr.errors import RivetrError


def answer(error: RivetrError) -> Response:
    """`{"error": {"code", "message", "fields"?}}` with the error's status."""
    body = {"code": error.code, "message": error.message}
    fields = getattr(error, "fields", None)
    response = jsonify({"error": {**body, "fields": fields} if fields else body})
    response.status_code = error.status
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="rivetr"'
    return response
