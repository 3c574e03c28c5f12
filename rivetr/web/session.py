"""Sign-in with Flask-Login, and the CSRF check for whatever a cookie authenticates."""

from dataclasses import dataclass

from flask import Flask, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user
from flask_wtf.csrf import CSRFProtect

from rivetr.actor import Actor
from rivetr.services import users

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")


@dataclass(slots=True)
class SignedIn(UserMixin):  # type: ignore[misc]
    """A signed-in browser: Flask-Login keeps `session_id` in the cookie, the database says whether it holds."""

    session_id: str
    email: str
    actor: Actor

    def get_id(self) -> str:
        return self.session_id


def set_up(login: LoginManager, csrf: CSRFProtect, app: Flask) -> None:
    """Tell Flask-Login how to find a session, and when the CSRF token must be there."""
    login.session_protection = None
    login.user_loader(_load)

    @app.before_request
    def protect() -> None:
        if request.method in _SAFE_METHODS or not _is_authenticated_by_cookie():
            return
        csrf.protect()


def _is_authenticated_by_cookie() -> bool:
    """Pages always are; the API only without a bearer token; webhooks sign their bodies."""
    if request.endpoint is None or request.blueprint == "hooks":
        # Without an endpoint it ends as 404 or 405, which change nothing.
        return False
    if request.blueprint == "api":
        return "Authorization" not in request.headers and bool(current_user.is_authenticated)
    return True


# Whoever is not signed in sees these pages of ours and no others.
_OPEN_PAGES = ("web.setup", "web.set_up", "web.sign_in", "web.signing_in")


def require_sign_in() -> ResponseReturnValue | None:
    """Send whoever is not signed in to the sign-in page; runs before each page."""
    if request.endpoint in _OPEN_PAGES or current_user.is_authenticated:
        return None
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("web.sign_in", next=wanted), 303)


def _load(session_id: str) -> SignedIn | None:
    found = users.session_for(session_id)
    return SignedIn(session_id, found.user.email, users.actor_of(found.user)) if found else None


def actor() -> Actor:
    """The signed-in person of this request."""
    signed_in: Actor = current_user.actor
    return signed_in
