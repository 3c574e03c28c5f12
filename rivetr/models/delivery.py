"""Webhooks (inbound addresses' secrets) and their deliveries (received calls)."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from rivetr.crypto import seal, unseal
from rivetr.db import Base, now
from rivetr.models.ids import new_id


class Webhook(Base):
    """The secret with which an app's Git server signs what it sends to us."""

    __tablename__ = "webhooks"

    app_id: Mapped[str] = mapped_column(ForeignKey("apps.id", ondelete="CASCADE"), primary_key=True)
    sealed_secret: Mapped[str]

    def set_secret(self, app_id: str, secret: str) -> None:
        """Seal the secret for this app."""
        self.sealed_secret = seal(secret, f"webhook:{app_id}")

    @property
    def secret(self) -> str:
        return unseal(self.sealed_secret, f"webhook:{self.app_id}")


class Delivery(Base):
    """One received call with a good signature; the same one again starts nothing twice."""

    __tablename__ = "deliveries"
    __table_args__ = (UniqueConstraint("provider", "delivery_id"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    provider: Mapped[str]
    delivery_id: Mapped[str]
    event: Mapped[str]
    deployments: Mapped[list[str]] = mapped_column(JSON, default=list)
    received_at: Mapped[datetime] = mapped_column(default=now)
