"""What an account and a sign-in may be."""

from rivetr.specs.fields import Text, length
from rivetr.specs.names import has_control_characters
from rivetr.specs.parsing import Spec

MIN_PASSWORD, MAX_PASSWORD = 10, 256


def _email(text: str) -> str:
    local, at, host = text.rpartition("@")
    if not (local and at and "." in host.strip(".")) or len(text) > 254 or " " in text or has_control_characters(text):
        raise ValueError("must be an e-mail address such as you@example.com")
    return text.lower()


def _password(text: str) -> str:
    length(MIN_PASSWORD, MAX_PASSWORD)(text)
    # Long enough to escape the lists of common ones, unless it hardly varies.
    if len(set(text)) < 5:
        raise ValueError("is too easy to guess: use at least 5 different characters")
    return text


class _Password(Text):
    keeps_blank = True


class AccountSpec(Spec):
    """A new account."""

    email = Text(_email, required=True)
    password = _Password(_password, required=True)


class SignInSpec(Spec):
    """A try to sign in; anything too long to be a password is refused before it is hashed."""

    email = Text(length(1, 254), required=True)
    password = _Password(length(1, MAX_PASSWORD), required=True)
