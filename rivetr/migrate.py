"""`python -m rivetr.migrate`: brings the database to the newest schema (bootstrap runs it, under a lock)."""

import contextlib
import sqlite3
import sys
import uuid
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from rivetr import config, crypto, db
from rivetr.bootstrap import ROOT


def alembic_config(database: Path) -> Config:
    """Alembic's configuration for our scripts and this database."""
    configuration = Config()
    configuration.set_main_option("script_location", str(ROOT / "migrations"))
    configuration.set_main_option("sqlalchemy.url", db.url(database).replace("%", "%%"))
    return configuration


def main() -> int:
    """Upgrade; 1 and a sentence when the database is from a newer Rivetr."""
    settings = config.load()
    crypto.use_key(crypto.load_key(settings.data_dir))
    try:
        command.upgrade(alembic_config(settings.database), "head")
    except CommandError as error:
        print(f"This database was written by a newer Rivetr ({error}): update Rivetr, or restore a backup.")
        return 1
    _found(settings.database)
    return 0


def _found(database: Path) -> None:
    """What a new instance needs once: its identity, the key that signs sessions, the mark of its sealing key."""
    first = {
        "key_check": crypto.fingerprint(),
        "instance_id": str(uuid.uuid4()),
        "session_key": crypto.seal(crypto.new_token(), "session_key"),
    }
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as rows, rows:
        rows.executemany("INSERT OR IGNORE INTO settings VALUES (?, ?)", first.items())


if __name__ == "__main__":
    sys.exit(main())
