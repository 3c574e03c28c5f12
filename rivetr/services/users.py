"""Accounts and signed-in browsers."""

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from rivetr import crypto
from rivetr.actor import SCOPES, Actor
from rivetr.db import now, session, transaction
from rivetr.errors import Conflict, Forbidden, TooMany, Unauthenticated
from rivetr.models import LoginSession, Setting, User

if TYPE_CHECKING:
    from argon2 import PasswordHasher
    from limits.strategies import MovingWindowRateLimiter

_SETUP_SETTING = "setup_code_hash"
SESSION_DAYS = 14
# Tries to sign in a minute, for one account and from one address.
_TRIES_A_MINUTE = 10


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    # RFC 9106, second recommended option, on one lane: 64 MiB for a moment at sign-in only.
    return PasswordHasher(time_cost=3, memory_cost=65536, parallelism=1)


@cache
def _limiter() -> "MovingWindowRateLimiter":
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter

    return MovingWindowRateLimiter(MemoryStorage())


@cache
def _dummy_hash() -> str:
    """Verified for unknown accounts, so that they take as long as known ones."""
    return _hasher().hash(crypto.new_token())


def any_exists() -> bool:
    """Whether somebody has set this instance up."""
    return session().scalar(select(func.count()).select_from(User)) != 0


def new_setup_code() -> str | None:
    """A fresh one-time code for making the first account; None when there is one already."""
    with transaction() as rows:
        if any_exists():
            return None
        code = crypto.new_token()
        rows.merge(Setting(key=_SETUP_SETTING, value=crypto.hash_token(code)))
    return code


def check_setup_code(code: str) -> None:
    """Raises `Forbidden` unless `code` may make the first account now."""
    stored = session().get(Setting, _SETUP_SETTING)
    if stored is None or any_exists() or not crypto.same(stored.value, crypto.hash_token(code)):
        raise Forbidden("This set-up link is used or wrong: sign in, or open the newest link where Rivetr was started.")


def set_up(code: str, values: Mapping[str, Any]) -> User:
    """Make the first account. Raises `Forbidden` for a wrong or used code; of two callers one wins."""
    # Checked before hashing too: strangers must not make us spend 64 MiB a try.
    check_setup_code(code)
    hashed = _hasher().hash(values["password"])
    with transaction() as rows:
        check_setup_code(code)
        rows.delete(rows.get_one(Setting, _SETUP_SETTING))
        user = User(email=values["email"], password_hash=hashed)
        rows.add(user)
    return user


def create(actor: Actor, values: Mapping[str, Any]) -> User:
    """Another account. Raises `Conflict` when the address has one."""
    actor.require("admin")
    hashed = _hasher().hash(values["password"])
    with transaction() as rows:
        if rows.scalar(select(User.id).where(User.email == values["email"])):
            raise Conflict(f"{values['email']} has an account already.", {"email": "is taken"})
        user = User(email=values["email"], password_hash=hashed)
        rows.add(user)
    return user


def sign_in(values: Mapping[str, Any], peer: str) -> LoginSession:
    """Check a password and open a session. Raises `Unauthenticated`, `TooMany`."""
    email = values["email"].lower()
    _count_try("account", email)
    _count_try("peer", peer)
    user = session().scalar(select(User).where(User.email == email))
    if not _matches(user.password_hash if user else _dummy_hash(), values["password"]) or user is None:
        raise Unauthenticated("The e-mail address or the password is wrong.")
    return open_session(user)


def _count_try(kind: str, who: str) -> None:
    from limits import RateLimitItemPerMinute

    limit = RateLimitItemPerMinute(_TRIES_A_MINUTE)
    if not _limiter().hit(limit, kind, who):
        raise TooMany("Too many tries to sign in: wait a minute, then try again.", 60)


def _matches(hashed: str, password: str) -> bool:
    from argon2.exceptions import VerificationError

    try:
        return _hasher().verify(hashed, password)
    except VerificationError:
        return False


def open_session(user: User) -> LoginSession:
    """A new signed-in browser."""
    with transaction() as rows:
        opened = LoginSession(
            id=crypto.hash_token(crypto.new_token()),
            user_id=user.id,
            expires_at=now() + timedelta(days=SESSION_DAYS),
        )
        rows.add(opened)
    return opened


def session_for(session_id: str) -> LoginSession | None:
    """The open session with this id."""
    found = session().get(LoginSession, session_id)
    return found if found is not None and found.expires_at > now() else None


def close_session(session_id: str) -> None:
    """Sign that browser out: its cookie is worth nothing from now on."""
    with transaction() as rows:
        found = rows.get(LoginSession, session_id)
        if found is not None:
            rows.delete(found)


def actor_of(user: User) -> Actor:
    """What a signed-in person may do."""
    return Actor(name=user.email, via="session", scopes=frozenset(SCOPES), user_id=user.id)
