"""How every process of an instance starts: settings, key, database (migrated once)."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from rivetr import config, crypto, shell
from rivetr.errors import Misconfigured

# The newest migration; a test compares it with migrations/versions.
SCHEMA_HEAD = "0002"
ROOT = Path(__file__).resolve().parent.parent


def start(settings: config.Settings, with_database: bool) -> None:
    """Make this process one of the instance's. Raises `Misconfigured` when it must not start."""
    config.use(settings)
    settings.prepare_data_dir()
    crypto.use_key(crypto.load_key(settings.data_dir))
    migrate_once(settings)
    check_key(settings)
    if with_database:
        from rivetr import db, models  # noqa: F401 - models bring the tables

        db.connect(settings.database)


def migrate_once(settings: config.Settings) -> None:
    """Bring the database to `SCHEMA_HEAD`; of several processes that start together, one does it.

    Alembic is loaded in a process of its own, because it is heavy and needed so rarely.
    """
    if _schema(settings.database) == SCHEMA_HEAD:
        return
    with _locked(settings.locks / "migrate.lock"):
        if _schema(settings.database) == SCHEMA_HEAD:
            return
        environment = {**os.environ, "RIVETR_SERVER__DATA_DIR": str(settings.data_dir)}
        done = shell.run(shell.python("rivetr.migrate"), cwd=ROOT, env=environment, timeout=600)
    if done.status != 0:
        raise Misconfigured(f"The database could not be brought up to date:\n{done.output.strip()}")


def _schema(database: Path) -> str | None:
    if not database.exists():
        return None
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row else None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_key(settings: config.Settings) -> None:
    """Raises `Misconfigured` unless this process has the key that the database was made with."""
    with contextlib.closing(sqlite3.connect(settings.database, timeout=30)) as rows:
        (stored,) = rows.execute("SELECT value FROM settings WHERE key = 'key_check'").fetchone()
    crypto.check_fingerprint(str(stored))
