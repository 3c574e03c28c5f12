"""Deployments, their stages and their log."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rivetr.db import Base, now
from rivetr.models.app import App
from rivetr.models.ids import new_id
from rivetr.models.release import Release

# Status while each stage runs (layout: docs/architecture.md).
STAGE_STATUS = {
    "validate": "cloning",
    "clone": "cloning",
    "build": "building",
    "deploy": "deploying",
    "health": "checking",
    "switch": "switching",
}
ACTIVE = ("cloning", "building", "deploying", "checking", "switching")
UNFINISHED = ("pending", *ACTIVE)
FINAL = ("running", "failed", "cancelled", "superseded", "stopped")


class Deployment(Base):
    """One attempt to bring a version of an app live."""

    __tablename__ = "deployments"
    __table_args__ = (
        # The database itself holds "one deployment at a time per app".
        Index(
            "uq_deployments_active",
            "app_id",
            unique=True,
            sqlite_where=text("status IN ('cloning', 'building', 'deploying', 'checking', 'switching')"),
        ),
        Index("ix_deployments_app_created", "app_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    app_id: Mapped[str] = mapped_column(ForeignKey("apps.id", ondelete="CASCADE"))
    release_id: Mapped[str | None] = mapped_column(ForeignKey("releases.id", ondelete="SET NULL", use_alter=True))
    ref: Mapped[str]
    trigger: Mapped[str]
    status: Mapped[str] = mapped_column(default="pending")
    failed_stage: Mapped[str | None]
    error: Mapped[str | None]
    commit_sha: Mapped[str | None]
    commit_message: Mapped[str | None]
    # [{"container_id", "address" (host:port)}], one a replica, once the containers run
    backends: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    requested_by: Mapped[str] = mapped_column(default="")
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    app: Mapped[App] = relationship(foreign_keys=[app_id])
    release: Mapped[Release | None] = relationship(foreign_keys=[release_id])
    stages: Mapped[list["DeploymentStage"]] = relationship(
        order_by="DeploymentStage.position", cascade="all, delete-orphan", passive_deletes=True
    )

    @property
    def is_unfinished(self) -> bool:
        return self.status in UNFINISHED

    @property
    def container_id(self) -> str | None:
        return self.backends[0]["container_id"] if self.backends else None

    @property
    def image(self) -> str | None:
        return self.release.image_ref if self.release else None


class DeploymentStage(Base):
    """How one stage of a deployment went: `pending`, `running`, `done`, `failed` or `skipped`."""

    __tablename__ = "deployment_stages"

    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    status: Mapped[str] = mapped_column(default="pending")
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    @property
    def seconds(self) -> float | None:
        if self.started_at is None:
            return None
        return ((self.finished_at or now()) - self.started_at).total_seconds()


class LogEntry(Base):
    """One line of a deployment's log; ids grow, so a reader asks for what came after the last."""

    __tablename__ = "log_entries"
    __table_args__ = (Index("ix_log_entries_deployment", "deployment_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    time: Mapped[datetime] = mapped_column(default=now)
    stage: Mapped[str]
    line: Mapped[str]
