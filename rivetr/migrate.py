"""`python -m rivetr.migrate DATABASE`: brings a database to the newest schema (bootstrap runs it)."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from rivetr import db
from rivetr.bootstrap import ROOT


def alembic_config(database: Path) -> Config:
    """Alembic's configuration for our scripts and this database."""
    configuration = Config()
    configuration.set_main_option("script_location", str(ROOT / "migrations"))
    configuration.set_main_option("sqlalchemy.url", db.url(database).replace("%", "%%"))
    return configuration


def main(database: Path) -> int:
    """Upgrade; 1 and a sentence when the database is from a newer Rivetr."""
    try:
        command.upgrade(alembic_config(database), "head")
    except CommandError as error:
        print(f"This database was written by a newer Rivetr ({error}): update Rivetr, or restore a backup.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
