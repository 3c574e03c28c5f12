"""How every process of an instance starts: settings, key, database (migrated once), queue."""

import contextlib
import fcntl
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

from rivetr import config, crypto, queue, shell
from rivetr.errors import Misconfigured

# The newest migration; a test compares it with migrations/versions.
SCHEMA_HEAD = "0001"
ROOT = Path(__file__).resolve().parent.parent
_KEY_CHECK = "This database was sealed with this key."


def start(settings: config.Settings, with_database: bool) -> None:
    """Make this process one of the instance's. Raises `Misconfigured` when it must not start."""
    config.use(settings)
    settings.prepare_data_dir()
    crypto.use_key(crypto.load_key(settings.data_dir))
    migrate_once(settings)
    check_key(settings)
    queue.use_database(settings.queue_database)
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
        done = shell.run(shell.python("rivetr.migrate", str(settings.database)), cwd=ROOT, timeout=600)
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
    """Refuse to go on with a key that does not open this database; the first start ever seals the check."""
    with contextlib.closing(sqlite3.connect(settings.database, timeout=30, isolation_level=None)) as rows:
        rows.execute("BEGIN IMMEDIATE")
        found = dict(rows.execute("SELECT key, value FROM settings").fetchall())
        if "key_check" not in found:
            rows.execute("INSERT INTO settings VALUES ('key_check', ?)", (crypto.seal(_KEY_CHECK, "key_check"),))
            rows.execute("INSERT INTO settings VALUES ('instance_id', ?)", (str(uuid.uuid4()),))
            rows.execute("INSERT INTO settings VALUES ('session_key', ?)", (_sealed_session_key(),))
        rows.execute("COMMIT")
    if "key_check" in found:
        crypto.unseal(found["key_check"], "key_check")


def _sealed_session_key() -> str:
    return crypto.seal(crypto.new_token(), "session_key")
