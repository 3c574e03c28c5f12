"""What every page's answer says to the browser about what it may do, and what every template knows."""

from datetime import datetime
from typing import Any

from flask import Response, request
from flask_login import current_user

import rivetr
from rivetr import config
from rivetr.db import now
from rivetr.runtimes import detect
from rivetr.web import blueprint

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self' ws: wss:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@blueprint.after_app_request
def add_security_headers(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    if request.endpoint != "static":
        headers.setdefault("Cache-Control", "no-store")
        headers.setdefault("Vary", "Cookie")
    if config.current().dashboard_url.startswith("https://"):
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response


@blueprint.app_template_filter()
def ago(time: datetime) -> str:
    """How long ago a moment was, in the one unit that a reader needs."""
    seconds = (now() - time).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


@blueprint.app_context_processor
def what_every_page_knows() -> dict[str, Any]:
    signed_in = current_user.is_authenticated
    return {
        "version": rivetr.__version__,
        "person": current_user.email if signed_in else None,
        "engine_is_down": signed_in and detect.ping(config.current().runtime) is None,
    }
