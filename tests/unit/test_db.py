"""Transactions: no update is lost between processes, and nothing is written outside one."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from rivetr import bootstrap, config, db
from rivetr.models import Setting
from tests.instance import ROOT


@pytest.fixture
def database(tmp_path: Path) -> Path:
    settings = config.load(None, {"RIVETR_SERVER__DATA_DIR": str(tmp_path)})
    bootstrap.start(settings, with_database=True)
    return settings.database


COUNT = """
import sys
from pathlib import Path
from rivetr import db
from rivetr.models import Setting
db.connect(Path(sys.argv[1]))
for _ in range(100):
    with db.transaction() as rows:
        row = rows.get_one(Setting, "count")
        row.value = str(int(row.value) + 1)
"""


def test_no_update_is_lost_between_processes(database: Path) -> None:
    with db.transaction() as rows:
        rows.add(Setting(key="count", value="0"))
    db.release()
    argv = [sys.executable, "-c", COUNT, str(database)]
    counting = [subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)]
    for process in counting:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    assert db.session().get_one(Setting, "count").value == "400"
    db.release()


def test_rows_changed_outside_a_transaction_are_refused(database: Path) -> None:
    db.session().add(Setting(key="stray", value="1"))
    with pytest.raises(RuntimeError, match="transaction"):
        db.session().flush()
    db.session().rollback()
    db.release()


def test_an_error_rolls_back_and_a_nested_transaction_joins(database: Path) -> None:
    def fail() -> None:
        with db.transaction() as rows:
            rows.add(Setting(key="half", value="1"))
            with db.transaction() as inner:
                assert inner is rows
                inner.add(Setting(key="other", value="1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert db.session().get(Setting, "half") is None
    assert db.session().get(Setting, "other") is None
    db.release()


def test_a_connection_is_set_for_several_writing_processes(database: Path) -> None:
    found = {
        name: db.session().scalar(text(f"PRAGMA {name}"))
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    }
    assert found == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 30_000}
    db.release()
