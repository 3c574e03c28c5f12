"""The only door to SQLAlchemy: the engine's settings for several writing processes, sessions, transactions.

Web requests use the session that Flask-SQLAlchemy keeps per request; other processes have no Flask,
so a process says once, with `use_sessions` or `connect`, where its sessions come from
(docs/decisions/0002-sessions.md).
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, Dialect, Engine, MetaData, TypeDecorator, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Session, registry, scoped_session, sessionmaker

BUSY_TIMEOUT_SECONDS = 30


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite itself keeps no time zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"A time without a time zone cannot be stored: {value!r}")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None else None


class Base(DeclarativeBase):
    """What every model inherits; constraint names are fixed so that migrations can name them."""

    # Given as a registry, because Flask-SQLAlchemy derives a class of its own from this one.
    registry = registry(
        type_annotation_map={datetime: UtcDateTime},
        metadata=MetaData(
            naming_convention={
                "ix": "ix_%(column_0_label)s",
                "uq": "uq_%(table_name)s_%(column_0_N_name)s",
                "fk": "fk_%(table_name)s_%(column_0_name)s",
                "pk": "pk_%(table_name)s",
            }
        ),
    )


def now() -> datetime:
    """The present, aware and in UTC."""
    return datetime.now(UTC)


def url(database: Path) -> str:
    """The SQLAlchemy address of an SQLite file."""
    return f"sqlite:///{database}"


def configure(engine: Engine) -> None:
    """Make `engine` safe for several writing processes (figures: docs/decisions/0003-sqlite.md)."""
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    # sqlite3's own implicit BEGIN is deferred and loses updates; we begin ourselves.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


_sessions: scoped_session[Session] | None = None


def use_sessions(registry: "scoped_session[Any]") -> None:
    """Make `registry` the one that `session()` asks in this process."""
    global _sessions  # noqa: PLW0603 - one registry a process
    _sessions = registry
    event.listen(registry.session_factory, "before_flush", _refuse_stray_writes)


def connect(database: Path, scope: Callable[[], Any] | None = None) -> Engine:
    """Give a process without Flask its engine and sessions (one per thread unless `scope` says otherwise)."""
    engine = create_engine(url(database))
    configure(engine)
    use_sessions(scoped_session(sessionmaker(engine), scopefunc=scope))
    return engine


def session() -> Session:
    """The current request's or thread's session."""
    if _sessions is None:
        raise RuntimeError("This process has no database: call rivetr.db.connect first.")
    return _sessions()


def release() -> None:
    """Give the current session's connection back; a stream does so between two looks."""
    if _sessions is not None:
        _sessions.remove()


@contextmanager
def transaction() -> Iterator[Session]:
    """A write transaction: BEGIN IMMEDIATE, committed at the end, rolled back on any error.

    Reads made before it end here, so rows are read anew under the write lock and no update is lost.
    Nested calls join the outer one. Keep it to milliseconds: no engine, Git or network inside.
    """
    current = session()
    if current.info.get("writing"):
        yield current
        return
    current.commit()
    current.info["writing"] = True
    try:
        current.connection(execution_options={"writes": True})
        yield current
        current.commit()
    except BaseException:
        current.rollback()
        raise
    finally:
        current.info["writing"] = False


def _refuse_stray_writes(current: Session, *_: object) -> None:
    if not current.info.get("writing"):
        raise RuntimeError("Rows were changed outside rivetr.db.transaction().")
