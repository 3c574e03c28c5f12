"""Releases: what a successful build leaves, and what a rollback brings back."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from rivetr.crypto import seal, unseal
from rivetr.db import Base, now
from rivetr.models.ids import new_id


class Release(Base):
    """An image with its commit, and the environment and settings it first ran with."""

    __tablename__ = "releases"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    app_id: Mapped[str] = mapped_column(ForeignKey("apps.id", ondelete="CASCADE"), index=True)
    image_ref: Mapped[str]
    image_digest: Mapped[str]
    commit_sha: Mapped[str | None]
    commit_message: Mapped[str | None]
    sealed_env: Mapped[str]
    # port, healthcheck, cpu_limit, memory_limit, replicas, strategy
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(default=now)

    def set_env(self, app_id: str, env: dict[str, str]) -> None:
        """Seal the environment this release runs with."""
        self.sealed_env = seal(json.dumps(env), f"release:{app_id}")

    @property
    def env(self) -> dict[str, str]:
        opened: dict[str, str] = json.loads(unseal(self.sealed_env, f"release:{self.app_id}"))
        return opened
