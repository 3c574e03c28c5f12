"""The data folder, its key and its database."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from rivetr import bootstrap, config, crypto
from rivetr.cli.checks.finding import Finding, ok, problem, warning
from rivetr.errors import Misconfigured

_TIGHT_BYTES, _LITTLE_BYTES = 2**30, 5 * 2**30
_ALEMBIC = "alembic_version"


def data_folder(settings: config.Settings) -> Iterator[Finding]:
    """Whether the folder is there (or can be made), ours to write, and closed to others."""
    folder = settings.data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        mend = f"Start Rivetr as {existing.owner()}, or give server.data_dir another folder."
        yield problem("data folder", f"This user may not write {existing}.", mend)
    elif existing != folder:
        yield ok("data folder", f"{folder} is made at the first start.")
    elif stat.S_IMODE(folder.stat().st_mode) & 0o077:
        yield warning("data folder", f"Other users may look into {folder}.", f"Run: chmod 700 {folder}")
    else:
        yield ok("data folder", f"{folder} can be written.")
    yield _space(existing)


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    message = f"{free / 2**30:.1f} GiB are free below {folder}."
    mend = "Free some space: images, sources and logs need it (docker system df shows what images take)."
    if free < _TIGHT_BYTES:
        return problem("free space", message, mend)
    return warning("free space", message, mend) if free < _LITTLE_BYTES else ok("free space", message)


def database(settings: config.Settings) -> Iterator[Finding]:
    """Whether the schema is the one this version knows, and the key opens what is sealed."""
    if not settings.database.exists():
        yield ok("database", f"{settings.database} is made at the first start.")
        return
    try:
        schema, has_check = _read(settings.database)
    except sqlite3.Error as error:
        mend = "Run the doctor as the user who runs Rivetr; if the file is damaged, bring back a backup."
        yield problem("database", f"{settings.database} cannot be read ({error}).", mend)
        return
    yield _schema(settings, schema)
    if has_check:
        yield _key(settings)


def _read(file: Path) -> tuple[str | None, bool]:
    """The schema's version, and whether there is something to check keys with."""
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=5)) as rows:
        tables = {name for (name,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        schema = rows.execute("SELECT version_num FROM alembic_version").fetchone() if _ALEMBIC in tables else None
        query = "SELECT 1 FROM settings WHERE key = 'key_check'"
        has_check = "settings" in tables and rows.execute(query).fetchone() is not None
    return (schema[0] if schema else None), has_check


def _schema(settings: config.Settings, schema: str | None) -> Finding:
    if schema == bootstrap.SCHEMA_HEAD:
        return ok("database", f"{settings.database} is up to date (schema {schema}).")
    if schema is not None and schema > bootstrap.SCHEMA_HEAD:
        message = f"{settings.database} was written by a newer Rivetr (schema {schema})."
        return problem("database", message, "Update Rivetr, or bring back a backup.")
    message = f"{settings.database} has the older schema {schema or 'of nothing'}."
    return warning("database", message, "The next start brings it up to date; 'rivetr migrate' does so now.")


def _key(settings: config.Settings) -> Finding:
    variables = (crypto.KEY_VARIABLE, f"{crypto.KEY_VARIABLE}_FILE")
    has_key = (settings.data_dir / "secret.key").exists() or any(name in os.environ for name in variables)
    if not has_key:
        # Looked at first, because loading a key makes one where there is none.
        message = f"The key of {settings.database} is missing, so its secrets cannot be opened."
        return problem("key", message, f"Bring back secret.key from a backup, or set {crypto.KEY_VARIABLE}.")
    try:
        crypto.use_key(crypto.load_key(settings.data_dir))
        bootstrap.check_key(settings)
    except Misconfigured as error:
        return problem("key", "The key does not open the database.", error.message)
    return ok("key", "The key opens the database.")
