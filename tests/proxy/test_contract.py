"""The control plane's side of the two files, as this package reads it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy import contract
from proxy.contract import Backend, BackendState, CertificateFiles, Route, Snapshot, Worker

SNAPSHOT = Snapshot(
    routes=(
        Route("a.test", "/", (Backend("10.0.0.1:80"), Backend("10.0.0.2:80", 3)), {"app": "a"}),
        Route("b.test", "/", (), {"app": "b", "unavailable": "stopped"}),
    ),
    certificates=(CertificateFiles("a.test", "/chain.pem", "/key.pem"),),
    challenges=(("token", "answer"),),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.db"


def test_what_is_published_is_read(path: Path) -> None:
    with closing(contract.open_routes(path)) as writer:
        generation = contract.publish(writer, SNAPSHOT)
    with closing(contract.open_routes(path, read_only=True)) as reader:
        found = contract.read(reader)
    assert found == Snapshot(SNAPSHOT.routes, SNAPSHOT.certificates, SNAPSHOT.challenges, generation)


def test_equal_content_makes_no_new_generation(path: Path) -> None:
    with closing(contract.open_routes(path)) as writer:
        first = contract.publish(writer, SNAPSHOT)
        again = Snapshot(tuple(reversed(SNAPSHOT.routes)), SNAPSHOT.certificates, SNAPSHOT.challenges)
        assert contract.publish(writer, again) == first
    with closing(contract.open_routes(path)) as writer:
        assert contract.publish(writer, SNAPSHOT) == first


@pytest.mark.parametrize(
    "changed",
    [
        Snapshot(SNAPSHOT.routes[:1], SNAPSHOT.certificates, SNAPSHOT.challenges),
        Snapshot(SNAPSHOT.routes, (), SNAPSHOT.challenges),
        Snapshot(SNAPSHOT.routes, SNAPSHOT.certificates, (("token", "other"),)),
        Snapshot((Route("a.test"), SNAPSHOT.routes[1]), SNAPSHOT.certificates, SNAPSHOT.challenges),
    ],
)
def test_any_change_makes_one_new_generation(path: Path, changed: Snapshot) -> None:
    with closing(contract.open_routes(path)) as writer:
        first = contract.publish(writer, SNAPSHOT)
        assert contract.publish(writer, changed) == first + 1


def test_generations_grow_when_the_file_is_made_anew(path: Path) -> None:
    with closing(contract.open_routes(path)) as writer:
        first = contract.publish(writer, SNAPSHOT)
    for file in path.parent.iterdir():
        file.unlink()
    with closing(contract.open_routes(path)) as writer:
        assert contract.publish(writer, SNAPSHOT) > first


def test_a_reader_cannot_write_and_makes_no_file(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError), closing(contract.open_routes(path, read_only=True)) as reader:
        contract.generation(reader)
    assert not path.exists()
    with closing(contract.open_routes(path)) as writer:
        contract.publish(writer, SNAPSHOT)
    with closing(contract.open_routes(path, read_only=True)) as reader, pytest.raises(sqlite3.OperationalError):
        reader.execute("DELETE FROM routes")


def test_another_schema_is_made_anew(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE routes (something TEXT)")
        other.execute("PRAGMA user_version=99")
    with closing(contract.open_routes(path)) as writer:
        contract.publish(writer, SNAPSHOT)
        assert contract.read(writer).routes == SNAPSHOT.routes


def test_wake_reaches_the_living_and_tells_the_dead(path: Path, tmp_path: Path) -> None:
    dead = 2**22 + 1  # above the highest process id there is
    with closing(contract.open_state(tmp_path / "proxy.db")) as state:
        contract.acknowledge(state, os.getpid(), 7, 6)
        contract.acknowledge(state, dead, 5, 5)
        contract.report(state, dead, [BackendState(dead, "10.0.0.1:80", "healthy", 1)])
        with contract.wake_socket(path) as listener:
            assert contract.wake(state, path) == [Worker(os.getpid(), 7, 6)]
            assert listener.recv(16)
            contract.forget_dead(state, path)
        assert contract.workers(state) == [Worker(os.getpid(), 7, 6)]
        assert contract.backend_states(state) == []


def test_a_full_queue_of_wake_ups_neither_blocks_nor_means_dead(path: Path, tmp_path: Path) -> None:
    with closing(contract.open_state(tmp_path / "proxy.db")) as state, contract.wake_socket(path):
        contract.acknowledge(state, os.getpid(), 1, 1)
        for _ in range(2000):
            assert len(contract.wake(state, path)) == 1


def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    with closing(contract.open_state(tmp_path / "proxy.db")) as state:
        contract.report(state, 1, [BackendState(1, "a:1", "healthy", 1), BackendState(1, "b:1", "unknown", 0)])
        contract.report(state, 2, [BackendState(2, "a:1", "unhealthy", 0)])
        contract.report(state, 1, [BackendState(1, "a:1", "draining", 2)])
        assert sorted(contract.backend_states(state), key=lambda each: each.pid) == [
            BackendState(1, "a:1", "draining", 2),
            BackendState(2, "a:1", "unhealthy", 0),
        ]


def test_a_reader_takes_over_only_what_is_new_to_it(path: Path) -> None:
    with closing(contract.open_routes(path)) as writer:
        first = contract.publish(writer, Snapshot(routes=(Route("a.test"), Route("b.test"), Route("c.test", "/x"))))
        second = contract.publish(writer, Snapshot(routes=(Route("a.test"), Route("b.test", policy={"app": "b"}))))
        news = contract.read_changes(writer, first)
        assert (news.generation, news.is_whole) == (second, False)
        assert news.routes == [("b.test", "/", '[]{"app":"b"}')]
        assert news.removed == [("c.test", "/x")]
        contract.publish(writer, Snapshot(routes=(Route("a.test"), Route("c.test", "/x"))))
        assert contract.read_changes(writer, second).removed == [("b.test", "/")]
        assert contract.read_changes(writer, first).removed == [("b.test", "/")]


@pytest.mark.parametrize("since", [-1, 0, 1, 10**18])
def test_a_reader_of_another_file_takes_over_everything(path: Path, since: int) -> None:
    with closing(contract.open_routes(path)) as writer:
        contract.publish(writer, Snapshot(routes=(Route("a.test"), Route("b.test"))))
        news = contract.read_changes(writer, since)
        assert news.is_whole
        assert len(news.routes) == 2
