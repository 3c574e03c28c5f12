"""The fork server with real processes: jobs run, fail and die; the server rests, dies, and is started anew."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rivetr import forkserver
from rivetr.forkserver import ForkServer, Gone
from tests.instance import wait_for


@pytest.fixture
def server() -> Iterator[ForkServer]:
    """A server whose children all end with the test."""
    made = ForkServer("tests.unit.fork_jobs")
    yield made
    made.end_all(0)


class Running:
    """A job run in a thread; `pids` are the child's and the server's."""

    def __init__(self, server: ForkServer, job: str, file: Path) -> None:
        self._file = file
        self.ended: list[object] = []
        self._thread = threading.Thread(target=self._run, args=(server, job, file))
        self._thread.start()

    def _run(self, server: ForkServer, job: str, file: Path) -> None:
        try:
            self.ended.append(server.run(job, str(file)))
        except Gone as error:
            self.ended.append(error)

    @property
    def pids(self) -> tuple[int, int]:
        text = wait_for(lambda: self._file.exists() and self._file.read_text().endswith("\n"), what="the job")
        child, parent = self._file.read_text().split()
        assert text
        return int(child), int(parent)

    def end(self) -> object:
        self._thread.join(20)
        (ended,) = self.ended
        return ended


def test_jobs_are_children_of_one_server(server: ForkServer, tmp_path: Path) -> None:
    assert server.run("note", str(tmp_path / "a")) == 0
    assert server.run("note", str(tmp_path / "b")) == 0
    first, second = ((tmp_path / name).read_text().split() for name in "ab")
    assert first[0] != second[0]
    assert first[1] == second[1]


def test_how_a_job_ended_is_told(server: ForkServer) -> None:
    assert server.run("fail", "x") == 1
    assert server.run("die", "x") == -signal.SIGKILL


def test_two_jobs_run_at_once(server: ForkServer, tmp_path: Path) -> None:
    long = Running(server, "sleep", tmp_path / "long")
    assert long.pids
    assert server.run("note", str(tmp_path / "short")) == 0
    server.end_all(10)
    assert long.end() == -signal.SIGTERM


def test_a_child_that_does_not_end_is_killed(server: ForkServer, tmp_path: Path) -> None:
    stubborn = Running(server, "stubborn", tmp_path / "it")
    child, _ = stubborn.pids
    wait_for(lambda: _ignores_term(child), what="the job to ignore SIGTERM")
    server.end_all(0.2)
    assert stubborn.end() == -signal.SIGKILL


def _ignores_term(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    ignored = int(next(line.split()[1] for line in lines if line.startswith("SigIgn:")), 16)
    return bool(ignored >> (signal.SIGTERM - 1) & 1)


def test_a_dead_server_ends_its_jobs_and_the_next_job_has_a_new_one(server: ForkServer, tmp_path: Path) -> None:
    broken = Running(server, "sleep", tmp_path / "broken")
    child, parent = broken.pids
    os.kill(parent, signal.SIGKILL)
    assert isinstance(broken.end(), Gone)
    wait_for(lambda: not _lives(child), what="the child to end")
    assert server.run("note", str(tmp_path / "next")) == 0


def test_the_server_ends_after_a_rest(server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "LINGER_SECONDS", 0.05)
    assert server.run("note", str(tmp_path / "a")) == 0
    _, parent = (tmp_path / "a").read_text().split()
    wait_for(lambda: not Path(f"/proc/{parent}").exists(), what="the server to end and be reaped")
    assert server.run("note", str(tmp_path / "b")) == 0


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
