"""Who calls the API: a bearer token, or the dashboard's session cookie."""

from flask import request
from flask_login import current_user

from rivetr.actor import Actor
from rivetr.errors import Unauthenticated
from rivetr.services import tokens


def actor() -> Actor:
    """The caller of this request. Raises `Unauthenticated`.

    A token counts before a cookie. With a cookie, unsafe methods have passed the CSRF check
    (`rivetr.web.csrf`) before any view runs.
    """
    header = request.headers.get("Authorization")
    if header is not None:
        return _bearer(header)
    if current_user.is_authenticated:
        signed_in: Actor = current_user.actor
        return signed_in
    raise Unauthenticated("Send 'Authorization: Bearer TOKEN'; the dashboard or 'rivetr token create' makes one.")


def _bearer(header: str) -> Actor:
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Unauthenticated("The Authorization header must be 'Bearer TOKEN'.")
    return tokens.authenticate(secret.strip())
