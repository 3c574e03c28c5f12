"""Who is asking, passed to every service by the door that let them in."""

from dataclasses import dataclass, field
from typing import Literal

from rivetr.errors import Forbidden

Scope = Literal["read", "deploy", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "deploy", "write", "admin")


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or a program, and what it may do.

    `via` is the door: `session`, `token`, `webhook` or `console`.
    """

    name: str
    via: str
    scopes: frozenset[Scope] = field(default_factory=frozenset)
    user_id: str | None = None

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the actor holds `scope` (or `admin`, which holds all)."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Forbidden(f"This needs the scope '{scope}'; make a token that has it.")


CONSOLE = Actor(name="console", via="console", scopes=frozenset(SCOPES))
WEBHOOK = Actor(name="webhook", via="webhook", scopes=frozenset({"read", "deploy"}))
