"""Sealing secrets at rest (AES-256-GCM), hashing tokens, comparing signatures.

A process calls `use_key` once at its start; the key never enters the database.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from rivetr.errors import Misconfigured

KEY_VARIABLE = "RIVETR_SECRET_KEY"
_NONCE_BYTES = 12
_VERSION = b"\x01"

_key: bytes | None = None


class WrongKey(Misconfigured):
    """Something sealed could not be opened with this key."""


def use_key(key: bytes) -> None:
    """Make `key` (32 bytes) the one that `seal` and `unseal` use in this process."""
    global _key  # noqa: PLW0603 - one key a process, set once at its start
    _key = key


def load_key(data_dir: Path) -> bytes:
    """The instance's key: 32 bytes from `RIVETR_SECRET_KEY` (or the file that `RIVETR_SECRET_KEY_FILE`
    names), or from a 0600 file in the data folder, made at first need.

    Raises `Misconfigured` when the phrase is too short or a file is not readable or no key.
    """
    phrase = _phrase()
    if phrase is not None:
        if len(phrase) < 32:
            raise Misconfigured(f"{KEY_VARIABLE} must have at least 32 characters (try: openssl rand -hex 32).")
        return hashlib.sha256(b"rivetr sealing key\0" + phrase.encode()).digest()
    file = data_dir / "secret.key"
    if not file.exists():
        # Written aside and then linked, so that of three processes starting together one makes
        # the key and no one ever reads half of it.
        aside = file.with_name(f".secret.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(base64.b64encode(secrets.token_bytes(32)))
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(aside, file)
        aside.unlink()
    return _read_key(file)


def _phrase() -> str | None:
    named = os.environ.get(f"{KEY_VARIABLE}_FILE")
    if named is None:
        return os.environ.get(KEY_VARIABLE)
    try:
        return Path(named).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{KEY_VARIABLE}_FILE: {named} cannot be read ({error}).") from None


def _read_key(file: Path) -> bytes:
    try:
        key = base64.b64decode(file.read_bytes(), validate=True)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"The key file {file} cannot be read: {error}.") from None
    if len(key) != 32:
        raise Misconfigured(f"The key file {file} holds no 32-byte key: bring back the right one from your backup.")
    return key


def seal(text: str, context: str) -> str:
    """Encrypt `text`; only `unseal` with the same `context` (what and whose it is) opens it."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(_current_key()).encrypt(nonce, text.encode(), context.encode())
    return base64.b64encode(_VERSION + nonce + sealed).decode()


def unseal(sealed: str, context: str) -> str:
    """The text that was sealed under `context`. Raises `WrongKey` when key or context differ."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        raw = base64.b64decode(sealed, validate=True)
        nonce, body = raw[1 : 1 + _NONCE_BYTES], raw[1 + _NONCE_BYTES :]
        return AESGCM(_current_key()).decrypt(nonce, body, context.encode()).decode()
    except (InvalidTag, ValueError):
        raise _wrong_key() from None


def _wrong_key() -> WrongKey:
    return WrongKey(
        "The secret key does not open what this database holds: start with the key file "
        f"(secret.key) or {KEY_VARIABLE} that it was written with."
    )


def fingerprint() -> str:
    """What tells this key from another and says nothing of it; processes that unseal nothing check just this."""
    return hmac.new(_current_key(), b"rivetr key fingerprint", hashlib.sha256).hexdigest()


def check_fingerprint(stored: str) -> None:
    """Raises `WrongKey` unless the database was written with this key."""
    if not same(stored, fingerprint()):
        raise _wrong_key()


def _current_key() -> bytes:
    if _key is None:
        raise Misconfigured("No secret key was loaded in this process.")
    return _key


def new_token(prefix: str = "") -> str:
    """A fresh random secret of 256 bits, URL-safe."""
    return prefix + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is stored of a token: it is random, so a plain SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


# What the proxy checks on a visitor's every request: light (4 MB, some milliseconds), yet slow to guess.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P, _SCRYPT_BYTES = 4096, 8, 1, 32


def hash_visitor_password(password: str) -> str:
    """What the proxy is given of a visitor's password: `scrypt$N$r$p$SALT$HASH`, both in base64 (RFC 7914)."""
    salt = secrets.token_bytes(16)
    derived = hashlib.scrypt(password.encode(), salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P, dklen=_SCRYPT_BYTES)
    parts = (_SCRYPT_N, _SCRYPT_R, _SCRYPT_P, base64.b64encode(salt).decode(), base64.b64encode(derived).decode())
    return "$".join(("scrypt", *map(str, parts)))


def sign(secret: str, body: bytes) -> str:
    """HMAC-SHA256 of `body` in hexadecimal (RFC 2104), as GitHub, Gitea and Bitbucket send it."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())
