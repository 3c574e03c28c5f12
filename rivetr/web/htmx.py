"""All that we know of HTMX: when it asks, what part it gets, and how it is sent elsewhere."""

from typing import Any

from flask import Response, make_response, redirect, render_template, request

# An answer with this status ends a fragment's own polling (htmx documentation, "Polling").
STOP_POLLING = 286


def is_fragment_request() -> bool:
    """Whether HTMX wants a part of a page (and not a whole one for a boosted link or the history)."""
    headers = request.headers
    return "HX-Request" in headers and "HX-Boosted" not in headers and "HX-History-Restore-Request" not in headers


def render(page: str, fragment: str, status: int = 200, **context: Any) -> Response:
    """The fragment for HTMX, the page that includes it for everybody else."""
    template = fragment if is_fragment_request() else page
    response = make_response(render_template(template, **context), status)
    response.headers["Vary"] = "HX-Request, Cookie"
    return response


def go_to(url: str) -> Response:
    """Send the browser to another page after a form did its work."""
    if is_fragment_request():
        response = make_response("", 204)
        response.headers["HX-Redirect"] = url
        return response
    return make_response(redirect(url, 303))
