"""Errors as a page, or as a line above the form that HTMX sent."""

from flask import Response, make_response, render_template

from rivetr.errors import RivetrError, Unauthenticated
from rivetr.web import htmx

_TITLES = {403: "Not allowed", 404: "Not found", 409: "That does not go together", 429: "Too many tries"}


def answer(error: RivetrError) -> Response:
    """The error page; without JavaScript it is all there is, with HTMX it goes where the form's answer goes."""
    title = _TITLES.get(error.status, "Something is missing" if error.status < 500 else "Something went wrong")
    template = "errors/_notice.html" if htmx.is_fragment_request() else "errors/page.html"
    response = make_response(render_template(template, title=title, error=error), error.status)
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    if isinstance(error, Unauthenticated):
        response.headers["Cache-Control"] = "no-store"
    return response
