"""What an instance survives: killed children, restarts, an engine that is away, a full disk, a wrong key."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.git_server import Repository, web_app
from tests.instance import ROOT, Instance, running, wait_for

Make = Callable[..., Repository]
SLOW_BUILD = web_app("slow")["Dockerfile"] + "RUN sleep 30\n"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Instance]:
    """An instance that a test may break."""
    with running(tmp_path) as instance:
        yield instance


def test_ctrl_c_ends_everything_but_the_apps_and_a_second_start_serves_them(own: Instance, repository: Make) -> None:
    own.create_app("stays", repository("stays").file_url)
    own.deploy("stays")
    pids = list(own.children().values())
    assert own.stop(signal.SIGINT) < 10
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    own.start()
    assert own.visit("stays.localhost").text == "stays"
    assert own.output().count("Example") == 1
    assert own.output().count("/setup?code=") == 2


@pytest.mark.parametrize("name", ["proxy", "web", "worker"])
def test_a_killed_child_is_started_again(own: Instance, repository: Make, name: str) -> None:
    own.create_app("robust", repository("robust").file_url)
    own.deploy("robust")
    killed = own.children()[name]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: own.children().get(name, killed) != killed, what="a new child")
    wait_for(lambda: _is_healthy(own), what="health")
    assert own.visit("robust.localhost").text == "robust"
    assert own.deploy("robust")["status"] == "running"


def _is_healthy(instance: Instance) -> bool:
    try:
        return instance.call("GET", "/health").status == 200
    except OSError:
        return False


def test_the_proxy_serves_while_web_and_worker_are_down(own: Instance, repository: Make) -> None:
    own.create_app("alone", repository("alone").file_url)
    own.deploy("alone")
    children = own.children()
    for name in ("web", "worker"):
        os.kill(children[name], signal.SIGSTOP)
    try:
        (own.data_dir / "routes.db").unlink()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            assert own.visit("alone.localhost").text == "alone"
    finally:
        for name in ("web", "worker"):
            os.kill(children[name], signal.SIGCONT)


def test_a_deployment_whose_process_died_is_ended_and_its_leftovers_removed(own: Instance, repository: Make) -> None:
    source = repository("slow", {**web_app("slow"), "Dockerfile": SLOW_BUILD})
    own.create_app("died", source.file_url)
    deployment = own.call("POST", "/api/apps/died/deploy").json
    wait_for(lambda: own.get(f"/api/deployments/{deployment['id']}")["status"] == "building", what="the build")
    os.kill(_process_of(own, deployment["id"]), signal.SIGKILL)
    ended = own.ended(deployment["id"])
    assert (ended["status"], ended["failed_stage"]) == ("failed", "build")
    assert "died" in ended["error"]
    assert not list((own.data_dir / "checkouts").iterdir())


def _process_of(instance: Instance, deployment_id: str) -> int:
    """The process that holds the deployment's lock file."""
    lock = os.stat(instance.data_dir / "locks" / f"deployment-{deployment_id}.lock")
    place = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    (holder,) = (line.split()[4] for line in Path("/proc/locks").read_text().splitlines() if place in line)
    return int(holder)


def test_waiting_deployments_survive_a_killed_worker_and_a_running_one_is_ended(
    own: Instance, repository: Make
) -> None:
    slow = repository("slow", {**web_app("slow"), "Dockerfile": SLOW_BUILD})
    own.create_app("queued", slow.file_url)
    running = own.call("POST", "/api/apps/queued/deploy").json
    wait_for(lambda: own.get(f"/api/deployments/{running['id']}")["status"] == "building", what="the build")
    slow.commit(web_app("quick"), "Quick")
    waiting = own.call("POST", "/api/apps/queued/deploy").json
    os.kill(own.children()["worker"], signal.SIGKILL)
    assert own.ended(running["id"])["status"] == "failed"
    assert own.ended(waiting["id"])["status"] == "running"
    assert own.visit("queued.localhost").text == "quick"


def test_an_engine_that_is_away_fails_deployments_and_nothing_else(tmp_path: Path, repository: Make) -> None:
    instance = Instance(tmp_path, runtime__docker_socket=str(tmp_path / "engine.sock"))
    real = "/var/run/docker.sock"
    (tmp_path / "engine.sock").symlink_to(real)
    instance.start()
    try:
        instance.create_app("away", repository("away").file_url)
        assert instance.deploy("away")["status"] == "running"
        (tmp_path / "engine.sock").unlink()
        failed = instance.deploy("away")
        assert failed["status"] == "failed"
        assert "container engine" in failed["error"]
        assert str(tmp_path / "engine.sock") in failed["error"]
        health = instance.call("GET", "/health")
        assert (health.status, health.json["runtime"]) == (503, "down")
        refused = instance.call("DELETE", "/api/apps/away")
        assert (refused.status, "retry-after" in refused.headers) == (503, True)
        assert instance.visit("away.localhost").text == "away"
        (tmp_path / "engine.sock").symlink_to(real)
        assert instance.deploy("away")["status"] == "running"
        instance.remove_apps()
    finally:
        instance.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 24 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, small_disk: Path, repository: Make) -> None:
    instance = Instance(tmp_path, server__data_dir=str(small_disk / "data")).start()
    try:
        instance.create_app("full", repository("full").file_url)
        assert instance.deploy("full")["status"] == "running"
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            while True:
                try:
                    if file.write(b"x" * 4096) < 4096:
                        break
                except OSError:
                    break
        # SQLite reuses what it has: the log of the checks above is small, a value of a megabyte is not.
        big = {"key": "BIG", "value": "x" * 30_000}
        answers = [instance.call("POST", "/api/apps/full/env-vars", {**big, "key": f"BIG{n}"}) for n in range(60)]
        refused = [answer for answer in answers if answer.status != 201]
        assert {answer.status for answer in refused} == {503}
        assert "disk is full" in refused[0].json["error"]["message"]
        assert instance.visit("full.localhost").text == "full"
        filler.unlink()
        stored = {item["key"] for item in instance.get("/api/apps/full/env-vars")["items"]}
        assert len(stored) == 60 - len(refused)
        assert instance.deploy("full")["status"] == "running"
        instance.remove_apps()
    finally:
        instance.stop()


def test_the_wrong_key_is_refused_at_start(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    instance.environment["RIVETR_SECRET_KEY"] = "a" * 40
    assert _migrate(instance).returncode == 0
    instance.environment["RIVETR_SECRET_KEY"] = "b" * 40
    refused = _migrate(instance)
    assert refused.returncode == 1
    assert "key" in refused.stderr
    assert "Traceback" not in refused.stderr
    instance.environment["RIVETR_SECRET_KEY"] = "short"
    assert "32 characters" in _migrate(instance).stderr
    del instance.environment["RIVETR_SECRET_KEY"]
    assert _migrate(instance).returncode == 1, "a fresh key file is a wrong key too"


def _migrate(instance: Instance) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "rivetr", "migrate"]
    return subprocess.run(argv, cwd=ROOT, env=instance.environment, check=False, capture_output=True, text=True)


def test_of_three_processes_that_start_together_one_migrates(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    argv = [sys.executable, "-m", "rivetr", "migrate"]
    starting = [
        subprocess.Popen(argv, cwd=ROOT, env=instance.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]
    for process in starting:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    with sqlite3.connect(instance.data_dir / "rivetr.db") as rows:
        assert rows.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        assert rows.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    key = instance.data_dir / "secret.key"
    assert oct(key.stat().st_mode & 0o777) == "0o600"


def test_secrets_stand_nowhere_in_the_data_folder(own: Instance) -> None:
    own.create_app("sealed", "https://example.com/x.git", webhook_secret="webhook-phrase-1234")
    body = {"key": "PASSWORD", "value": "env-phrase-1234", "is_secret": True}
    assert own.call("POST", "/api/apps/sealed/env-vars", body).status == 201
    made = own.call("POST", "/api/tokens", {"name": "ci", "scopes": ["read"]}).json
    for file in own.data_dir.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for phrase in ("webhook-phrase-1234", "env-phrase-1234", made["token"]):
                assert phrase.encode() not in content, file


def test_a_port_that_is_taken_by_name_is_an_error(own: Instance, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Instance(tmp_path / "other")
    other.environment["RIVETR_SERVER__API_PORT"] = str(own.api_port)
    other.launch()
    assert other.process is not None
    assert other.process.wait(30) == 1
    assert f"Port {own.api_port} is taken" in other.output()


def test_a_first_start_deploys_the_example_and_an_address_is_left_for_the_command_line(tmp_path: Path) -> None:
    instance = Instance(tmp_path).start()
    try:
        wait_for(lambda: instance.visit("hello.localhost").status == 200, 30, "the example")
        assert "It runs." in instance.visit("hello.localhost").text
        address = json.loads((instance.data_dir / "address.json").read_text())
        assert address["url"] == f"http://127.0.0.1:{instance.api_port}"
        instance.remove_apps()
    finally:
        instance.stop()
