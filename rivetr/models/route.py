"""Routes that somebody made by hand; those of apps are derived from their deployments."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from rivetr.db import Base, now
from rivetr.models.ids import new_id


class ManualRoute(Base):
    """A host and path prefix sent to addresses that Rivetr does not run itself."""

    __tablename__ = "routes"
    __table_args__ = (UniqueConstraint("domain", "path_prefix"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    domain: Mapped[str]
    path_prefix: Mapped[str] = mapped_column(default="/")
    backends: Mapped[list[str]] = mapped_column(JSON)
    policy: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default="{}")
    created_at: Mapped[datetime] = mapped_column(default=now)
