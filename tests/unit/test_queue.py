"""The queue: a waiting worker is woken by the one that puts a task in, and tasks outlive processes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rivetr import queue
from tests.instance import ROOT

PUT = """
import sys, time
from collections.abc import Iterator
from pathlib import Path
from rivetr import queue
storage = queue.storage_at(Path(sys.argv[1]))
print(time.time(), flush=True)
storage.enqueue(b"task")
"""


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[queue.SignalledStorage]:
    storage = queue.storage_at(tmp_path / "huey.db")
    monkeypatch.setattr(queue.huey, "_storage", storage)
    yield storage
    storage.close()


def put(storage: queue.SignalledStorage) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-c", PUT, storage.filename]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE)


def test_a_waiting_worker_is_woken_by_another_process(storage: queue.SignalledStorage) -> None:
    storage.listen()
    process = put(storage)
    task = None
    while task is None:
        task = storage.dequeue()
    seen = time.time()
    said, _ = process.communicate(timeout=10)
    assert task == b"task"
    # Opening the file is in this too; a lost signal would cost the safety poll's second.
    assert seen - float(said) < queue.SAFETY_POLL_SECONDS * 0.8


def test_what_was_put_in_without_a_worker_is_there_when_one_starts(storage: queue.SignalledStorage) -> None:
    put(storage).communicate(timeout=10)
    assert not storage.wake()
    storage.listen()
    assert storage.wake()
    assert queue.depth() == 1
    assert storage.dequeue() == b"task"
    assert queue.depth() == 0


def test_a_second_worker_is_refused(storage: queue.SignalledStorage, tmp_path: Path) -> None:
    storage.listen()
    other = queue.SignalledStorage("rivetr", filename=storage.filename)
    with pytest.raises(OSError, match="in use"):
        other.listen()
    other.close()
