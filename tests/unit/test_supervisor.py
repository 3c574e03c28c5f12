"""The parent of our processes: restarts what dies, ends all in order, leaves no orphans."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.instance import ROOT, wait_for

PROGRAM = """
import os, signal, sys, time
from rivetr.supervisor import Child, Supervisor

def note(name):
    with open(sys.argv[1], "a") as file:
        file.write(f"{name} {os.getpid()}\\n")

def steady():
    note("steady")
    time.sleep(1000)

def stubborn():
    signal.signal(signal.SIGTERM, lambda *_: (note("asked"), time.sleep(0.3), os._exit(0)))
    note("stubborn")
    while True:
        time.sleep(1000)

def failing():
    note("failing")
    raise ValueError("cannot")

def drains():
    signal.signal(signal.SIGQUIT, lambda *_: (note("drained"), os._exit(0)))
    note("drains")
    while True:
        time.sleep(1000)

Supervisor([Child(f.__name__, f, f is drains) for f in (steady, stubborn, failing, drains)]).run()
print("ended", flush=True)
"""


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    notes = tmp_path / "notes"
    notes.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(notes)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    yield process, notes
    process.kill()
    process.communicate()


def started(notes: Path, name: str) -> list[int]:
    return [int(line.split()[1]) for line in notes.read_text().splitlines() if line.startswith(name)]


def test_a_child_that_dies_is_started_again_and_the_others_are_left_alone(
    supervised: tuple["subprocess.Popen[bytes]", Path],
) -> None:
    _, notes = supervised
    wait_for(lambda: started(notes, "stubborn") and started(notes, "steady"), what="the children")
    (first,) = started(notes, "steady")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(started(notes, "steady")) == 2, what="another one")
    assert len(started(notes, "stubborn")) == 1


def test_one_that_fails_at_once_is_tried_ever_more_slowly(supervised: tuple["subprocess.Popen[bytes]", Path]) -> None:
    process, notes = supervised
    wait_for(lambda: len(started(notes, "failing")) >= 4, what="a few tries")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=15)
    assert b"ValueError: cannot" in said
    assert b"started again in 0.1 s" in said
    assert b"started again in 0.4 s" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_and_waits_for_them(
    supervised: tuple["subprocess.Popen[bytes]", Path], number: signal.Signals
) -> None:
    process, notes = supervised
    wait_for(lambda: started(notes, "stubborn") and started(notes, "steady"), what="the children")
    process.send_signal(number)
    said, _ = process.communicate(timeout=15)
    assert said == b"ended\n"
    assert started(notes, "asked")
    for pid in started(notes, "steady") + started(notes, "stubborn"):
        assert not Path(f"/proc/{pid}").exists()


def test_children_end_when_their_parent_is_killed(supervised: tuple["subprocess.Popen[bytes]", Path]) -> None:
    process, notes = supervised
    wait_for(lambda: started(notes, "stubborn") and started(notes, "steady"), what="the children")
    process.kill()
    process.wait()
    pids = started(notes, "steady") + started(notes, "stubborn")
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="the children to end")


def test_hangup_starts_a_successor_before_the_old_one_drains(
    supervised: tuple["subprocess.Popen[bytes]", Path],
) -> None:
    process, notes = supervised
    (old,) = wait_for(lambda: started(notes, "drains"), what="the child")
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: started(notes, "drained") == [old], what="the old one to drain")
    pids = started(notes, "drains")
    assert len(pids) == 2
    assert pids[0] == old
    assert len(started(notes, "steady")) == 1
