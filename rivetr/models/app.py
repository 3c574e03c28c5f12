"""Apps with their domains and environment variables."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rivetr.crypto import seal, unseal
from rivetr.db import Base, now
from rivetr.models.ids import new_id

if TYPE_CHECKING:
    from rivetr.models.delivery import Webhook
    from rivetr.models.deployment import Deployment


class App(Base):
    """What a user deploys: a source and its settings.

    `live_deployment_id` is the deployment that serves now; `is_stopped` is the owner's wish that
    none does.
    """

    __tablename__ = "apps"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    git_url: Mapped[str]
    branch: Mapped[str] = mapped_column(default="main")
    dockerfile: Mapped[str] = mapped_column(default="Dockerfile")
    port: Mapped[int] = mapped_column(default=3000)
    healthcheck: Mapped[str | None]
    cpu_limit: Mapped[str] = mapped_column(default="1")
    memory_limit: Mapped[str] = mapped_column(default="512m")
    environment: Mapped[str] = mapped_column(default="production")
    project_id: Mapped[str | None]
    strategy: Mapped[str] = mapped_column(default="rolling")
    replicas: Mapped[int] = mapped_column(default=1)
    auto_deploy: Mapped[bool] = mapped_column(default=True)
    # What the proxy does with requests (rivetr.specs.policy), passwords hashed. Assign a new one, never change it.
    policy: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default="{}")
    is_stopped: Mapped[bool] = mapped_column(default=False)
    live_deployment_id: Mapped[str | None] = mapped_column(
        ForeignKey("deployments.id", use_alter=True, ondelete="SET NULL")
    )
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    domains: Mapped[list["Domain"]] = relationship(
        order_by="Domain.position", cascade="all, delete-orphan", passive_deletes=True
    )
    env_vars: Mapped[list["EnvVar"]] = relationship(
        order_by="EnvVar.key", cascade="all, delete-orphan", passive_deletes=True
    )
    webhook: Mapped["Webhook | None"] = relationship(cascade="all, delete-orphan", passive_deletes=True)
    live_deployment: Mapped["Deployment | None"] = relationship(
        foreign_keys=[live_deployment_id], post_update=True, viewonly=True
    )

    def hosts(self, base_domain: str) -> list[str]:
        """The host names at which the app is served: its domains, or NAME.BASE_DOMAIN without any."""
        return [domain.host for domain in self.domains] or [f"{self.name}.{base_domain}"]


class Domain(Base):
    """A host name an app owns; the one at position 0 is the app's `domain`."""

    __tablename__ = "domains"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    app_id: Mapped[str] = mapped_column(ForeignKey("apps.id", ondelete="CASCADE"), index=True)
    host: Mapped[str] = mapped_column(unique=True)
    position: Mapped[int] = mapped_column(default=0)


class EnvVar(Base):
    """A variable of an app's environment; its value is sealed whether or not it is a secret."""

    __tablename__ = "env_vars"
    __table_args__ = (UniqueConstraint("app_id", "key"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    app_id: Mapped[str] = mapped_column(ForeignKey("apps.id", ondelete="CASCADE"))
    key: Mapped[str]
    sealed: Mapped[str]
    is_secret: Mapped[bool] = mapped_column(default=False)

    def set_value(self, app_id: str, value: str) -> None:
        """Seal `value` for this app and key."""
        self.sealed = seal(value, f"env:{app_id}:{self.key}")

    @property
    def value(self) -> str:
        return unseal(self.sealed, f"env:{self.app_id}:{self.key}")
