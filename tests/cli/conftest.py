"""A scripted instance, and the command line as a person runs it: a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.fake_instance import TOKEN, FakeInstance, serving

ROOT = Path(__file__).resolve().parents[2]
Completed = subprocess.CompletedProcess[str]
Rivetr = Callable[..., Completed]


@pytest.fixture
def instance() -> Iterator[FakeInstance]:
    with serving() as running:
        yield running


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def environment(data_dir: Path) -> dict[str, str]:
    """No settings but the data folder; the test adds what it needs."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RIVETR_")}
    return {**mine, "RIVETR_SERVER__DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def local(environment: dict[str, str], tmp_path: Path) -> Rivetr:
    """`python -m rivetr ARGUMENTS` on this machine's data folder."""

    def run(*arguments: str, stdin: str = "", **variables: str) -> Completed:
        return subprocess.run(
            [sys.executable, "-m", "rivetr", *arguments],
            cwd=tmp_path,
            env={**environment, **variables},
            input=stdin,
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def remote(local: Rivetr, instance: FakeInstance) -> Rivetr:
    """The same as a client of the scripted instance."""

    def run(*arguments: str, stdin: str = "", **variables: str) -> Completed:
        return local(*arguments, stdin=stdin, **{"RIVETR_URL": instance.url, "RIVETR_TOKEN": TOKEN, **variables})

    return run
