"""`doctor`: every finding, made true on a data folder of its own."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Rivetr
from tests.cli.fake_instance import FakeInstance, Reply
from tests.instance import free_port

Diagnose = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def diagnose(local: Rivetr) -> Diagnose:
    """The doctor's findings; its exit status must agree with them."""

    def run(name: str, **variables: str) -> list[dict[str, Any]]:
        ports = {f"RIVETR_SERVER__{key}": str(free_port()) for key in ("API_PORT", "PROXY_PORT", "PROXY_HTTPS_PORT")}
        done = local("doctor", "--json", **{**ports, **variables})
        report = json.loads(done.stdout)
        has_problem = any(check["level"] == "problem" for check in report["checks"])
        assert (done.returncode, report["ok"]) == ((1, False) if has_problem else (0, True)), done.stdout
        return [check for check in report["checks"] if check["name"] == name]

    return run


def test_the_doctor_finds_a_machine_in_order_and_changes_nothing(diagnose: Diagnose, data_dir: Path) -> None:
    levels = {
        name: {check["level"] for check in diagnose(name)} for name in ("data folder", "database", "git", "ports")
    }
    assert levels == {name: {"ok"} for name in levels}
    [engine] = diagnose("container engine")
    assert engine["level"] == "ok" and engine["message"].startswith("docker ")
    assert not data_dir.exists()


def test_the_doctor_speaks_to_people_too(local: Rivetr) -> None:
    done = local("doctor", RIVETR_SERVER__API_PROT="1")
    assert done.returncode == 1
    assert "problem  settings: " in done.stdout and "api_port" in done.stdout
    assert done.stdout.endswith("1 problem: mend what is marked, then ask the doctor again.\n")


def test_the_doctor_sees_whether_the_key_opens_the_database(diagnose: Diagnose, local: Rivetr, data_dir: Path) -> None:
    assert local("migrate").returncode == 0
    [key] = diagnose("key")
    assert key["level"] == "ok"
    [key] = diagnose("key", RIVETR_SECRET_KEY="another key of at least 32 characters")
    assert key["level"] == "problem" and "does not open" in key["message"]
    (data_dir / "secret.key").unlink()
    [key] = diagnose("key")
    assert key["level"] == "problem" and "missing" in key["message"]
    assert not (data_dir / "secret.key").exists()


def test_the_doctor_tells_old_new_and_damaged_databases_apart(
    diagnose: Diagnose, local: Rivetr, data_dir: Path
) -> None:
    assert local("migrate").returncode == 0
    for version, level in (("0000", "warning"), ("9999", "problem")):
        with closing(sqlite3.connect(data_dir / "rivetr.db")) as database, database:
            database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        [found] = diagnose("database")
        assert found["level"] == level and version in found["message"]
    for file in data_dir.glob("rivetr.db*"):
        file.unlink()
    (data_dir / "rivetr.db").write_bytes(b"no database at all" * 1000)
    [found] = diagnose("database")
    assert found["level"] == "problem" and "cannot be read" in found["message"]


def test_the_doctor_sees_a_data_folder_that_is_a_file_or_open_to_others(diagnose: Diagnose, data_dir: Path) -> None:
    data_dir.mkdir(mode=0o755)
    [found] = diagnose("data folder")
    assert found["level"] == "warning" and f"chmod 700 {data_dir}" in found["mend"]
    data_dir.rmdir()
    data_dir.write_text("")
    [found] = diagnose("data folder")
    assert found["level"] == "problem"


def test_the_doctor_names_who_holds_a_port(diagnose: Diagnose) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        found = diagnose("ports", RIVETR_SERVER__PROXY_PORT=str(port))
    [problem] = [check for check in found if check["level"] != "ok"]
    assert problem["level"] == "problem"
    assert f"Port {port} is taken by " in problem["message"] and f"(process {os.getpid()})" in problem["message"]


def test_the_doctor_knows_this_instances_own_ports(diagnose: Diagnose, environment: dict[str, str]) -> None:
    port = free_port()
    ours = {**environment, "RIVETR_SERVER__API_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "rivetr", "web"], env=ours, start_new_session=True)
    try:
        other = f"{environment['RIVETR_SERVER__DATA_DIR']}-of-another"
        found: list[dict[str, Any]] = []
        for _ in range(100):
            found = diagnose("ports", RIVETR_SERVER__API_PORT=str(port))
            if "held by this instance" in found[0]["message"]:
                break
        assert (found[0]["level"], found[0]["message"]) == (
            "ok",
            f"Port {port} (server.api_port) is held by this instance.",
        )
        found = diagnose("ports", RIVETR_SERVER__API_PORT=str(port), RIVETR_SERVER__DATA_DIR=other)
        assert found[0]["level"] == "problem" and "another instance of Rivetr" in found[0]["message"]
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_the_doctor_says_what_to_start_without_an_engine(diagnose: Diagnose, tmp_path: Path) -> None:
    socket_path = str(tmp_path / "no.sock")
    found = diagnose("container engine", RIVETR_RUNTIME__DOCKER_SOCKET=socket_path, DOCKER_HOST="")[0]
    assert found["level"] == "problem" and socket_path in found["message"]
    assert "docker" in found["mend"]


def test_the_doctor_misses_git_and_finds_an_old_one(diagnose: Diagnose, tmp_path: Path) -> None:
    [missing] = diagnose("git", PATH=str(tmp_path))
    assert missing["level"] == "problem" and "apt-get install git" in missing["mend"]
    old = tmp_path / "git"
    old.write_text("#!/bin/sh\necho git version 2.30.2\n")
    old.chmod(0o755)
    [found] = diagnose("git", PATH=str(tmp_path))
    assert found["level"] == "problem" and "2.30.2" in found["message"] and "2.37" in found["mend"]


def test_the_doctor_looks_for_buildkit(diagnose: Diagnose, tmp_path: Path) -> None:
    [missing] = diagnose("buildkit", PATH=str(tmp_path))
    assert missing["level"] == "warning" and "docker-buildx" in missing["mend"]
    (tmp_path / "docker").write_text("#!/bin/sh\necho Docker version 20.10.24+dfsg1, build 297e128\n")
    (tmp_path / "docker").chmod(0o755)
    [found] = diagnose("buildkit", PATH=str(tmp_path))
    assert found["level"] == "ok" and str(tmp_path / "docker") in found["message"]


def test_the_doctor_sees_names_that_lead_nowhere_or_here(diagnose: Diagnose) -> None:
    [found] = diagnose("base domain", RIVETR_PROXY__BASE_DOMAIN="apps.invalid")
    assert found["level"] == "warning" and "*.apps.invalid" in found["mend"]


def test_the_doctor_sees_a_clock_that_is_behind(diagnose: Diagnose, data_dir: Path) -> None:
    assert diagnose("clock")[0]["level"] == "ok"
    data_dir.mkdir(mode=0o700)
    (data_dir / "huey.db").touch()
    tomorrow = time.time() + 86400
    os.utime(data_dir / "huey.db", (tomorrow, tomorrow))
    [found] = diagnose("clock")
    assert found["level"] == "problem" and time.strftime("%Y-%m-%d", time.gmtime(tomorrow)) in found["message"]


def test_the_doctor_asks_the_running_instance(diagnose: Diagnose, data_dir: Path, instance: FakeInstance) -> None:
    data_dir.mkdir(mode=0o700)
    (data_dir / "address.json").write_text(json.dumps({"url": instance.url}))
    health = {"status": "ok", "version": "1.0", "web": "ok", "worker": "ok", "proxy": "ok", "runtime": "docker"}
    instance.on("GET /health", Reply(health), Reply({**health, "status": "degraded", "proxy": "down"}, 503))
    assert diagnose("processes")[0]["level"] == "ok"
    [found] = diagnose("processes")
    assert found["level"] == "problem" and "down: proxy" in found["message"]
    (data_dir / "address.json").write_text(json.dumps({"url": f"http://127.0.0.1:{free_port()}"}))
    [found] = diagnose("processes")
    assert found["level"] == "warning" and "Nothing answers" in found["message"]


def test_the_doctor_knows_podmans_wishes(diagnose: Diagnose, tmp_path: Path) -> None:
    (tmp_path / "podman").write_text("#!/bin/sh\necho podman version 4.3.1\n")
    (tmp_path / "podman").chmod(0o755)
    (tmp_path / "git").symlink_to(shutil.which("git") or "/usr/bin/git")
    variables = {"PATH": str(tmp_path), "RIVETR_RUNTIME__DOCKER_SOCKET": str(tmp_path / "no.sock"), "DOCKER_HOST": ""}
    [found] = diagnose("podman", **variables)
    assert "Podman 4.3.1" in found["message"]
    needs_settings = found["level"] == "warning"
    assert needs_settings == ("containers.conf.d" in found["mend"])
