"""Alembic's entry: runs the migrations on the database that its configuration names."""

from alembic import context
from sqlalchemy import create_engine

from rivetr import db, models  # noqa: F401 - models bring the tables

engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "")
db.configure(engine)
with engine.connect().execution_options(writes=True) as connection:
    context.configure(connection=connection, target_metadata=db.Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
