"""Facts about the instance itself, a key and a text each."""

from sqlalchemy.orm import Mapped, mapped_column

from rivetr.db import Base


class Setting(Base):
    """Keys: `instance_id`, `key_check`, `session_key`, `setup_code_hash`, `admin_token_hash`."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
