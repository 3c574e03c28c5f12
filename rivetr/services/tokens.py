"""API tokens, and the configured one: made, checked, removed."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from rivetr import config, crypto
from rivetr.actor import SCOPES, Actor
from rivetr.db import now, session, transaction
from rivetr.errors import NotFound, Unauthenticated
from rivetr.models import ApiToken, Setting
from rivetr.services.paging import Page, Window
from rivetr.services.paging import page as page_of

PREFIX = "rvt_"
_ADMIN_SETTING = "admin_token_hash"
# A token's last use is written at most this often: it is for people, and each write costs.
_LAST_USED_EVERY = timedelta(minutes=1)


def create(actor: Actor, values: Mapping[str, Any]) -> tuple[ApiToken, str]:
    """A new token and its secret, which is kept nowhere. Raises `Forbidden`."""
    actor.require("admin")
    secret = crypto.new_token(PREFIX)
    with transaction() as rows:
        token = ApiToken(token_hash=crypto.hash_token(secret), **values)
        rows.add(token)
    return token, secret


def page(actor: Actor, window: Window) -> Page[ApiToken]:
    """Tokens, oldest first."""
    actor.require("admin")
    return page_of(select(ApiToken), [ApiToken.created_at, ApiToken.id], window)


def delete(actor: Actor, id: str) -> None:
    """Remove a token; it is refused from now on. Raises `NotFound`."""
    actor.require("admin")
    with transaction() as rows:
        token = rows.get(ApiToken, id)
        if token is None:
            raise NotFound(f"There is no token '{id}'.")
        rows.delete(token)


def authenticate(secret: str) -> Actor:
    """Who holds this secret. Raises `Unauthenticated`."""
    admin = config.current().auth.admin_token
    if admin and crypto.same(secret, admin):
        return _admin()
    hashed = crypto.hash_token(secret)
    stored = session().get(Setting, _ADMIN_SETTING)
    if not admin and stored is not None and crypto.same(hashed, stored.value):
        return _admin()
    token = session().scalar(select(ApiToken).where(ApiToken.token_hash == hashed))
    if token is None or (token.expires_at is not None and token.expires_at <= now()):
        raise Unauthenticated("The token is not known or has expired: make a new one.")
    if token.last_used_at is None or token.last_used_at < now() - _LAST_USED_EVERY:
        with transaction():
            token.last_used_at = now()
    scopes = frozenset(scope for scope in SCOPES if scope in token.scopes)
    return Actor(name=f"token {token.name}", via="token", scopes=scopes)


def _admin() -> Actor:
    return Actor(name="admin token", via="token", scopes=frozenset(SCOPES))


def make_admin_token() -> str | None:
    """At the first start without a configured one: the admin token, to be shown once. Later None."""
    if config.current().auth.admin_token:
        return None
    with transaction() as rows:
        if rows.get(Setting, _ADMIN_SETTING) is not None:
            return None
        secret = crypto.new_token(PREFIX)
        rows.add(Setting(key=_ADMIN_SETTING, value=crypto.hash_token(secret)))
    return secret
