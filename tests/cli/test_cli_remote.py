"""`apps`, `env`, `routes`, `status`: what is asked for, and how it is shown."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Rivetr
from tests.cli.fake_instance import TOKEN, FakeInstance, Reply, items, refusal

HEALTH = {"status": "ok", "version": "1.0", "web": "ok", "worker": "ok", "proxy": "ok", "runtime": "docker"}


def test_apps_is_an_aligned_table(instance: FakeInstance, remote: Rivetr) -> None:
    instance.on("GET /api/apps?limit=200", items({"name": "a"}, {"name": "a-longer-name"}, {"name": "gone"}))
    instance.on("GET /api/apps/a/status", Reply({"state": "running", "url": "http://a.localhost"}))
    instance.on("GET /api/apps/a-longer-name/status", Reply({"state": "stopped", "url": "http://b\x1b[2J\tx"}))
    instance.on("GET /api/apps/gone/status", refusal(404, "not_found", "There is no app 'gone'."))
    done = remote("apps")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "NAME           STATE    ADDRESS",
        "a              running  http://a.localhost",
        "a-longer-name  stopped  http://b\\tx",
    ]
    assert json.loads(remote("apps", "--json").stdout)["items"][2] == {"name": "gone"}


def test_apps_create_sends_what_was_given_and_nothing_else(instance: FakeInstance, remote: Rivetr) -> None:
    instance.on("POST /api/apps", Reply({"name": "a", "port": 80}, 201))
    done = remote("apps", "create", "a", "https://example.com/a.git", "--port", "80", "--memory", "1g")
    assert (done.returncode, done.stdout) == (0, "Made a. 'rivetr deploy a --wait' brings it live.\n")
    sent = {"name": "a", "git_url": "https://example.com/a.git", "port": 80, "memory_limit": "1g"}
    assert instance.asked[0].body == sent
    done = remote(
        "apps", "create", "a", "u", "--branch", "b", "--domain", "d", "--healthcheck", "/h", "--dockerfile", "f",
        "--cpu", "2", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout) == {"name": "a", "port": 80}
    rest = {"branch": "b", "domain": "d", "healthcheck": "/h", "dockerfile": "f", "cpu_limit": "2"}
    assert instance.asked[1].body == {"name": "a", "git_url": "u", **rest}


def test_env_list_shows_no_secret(instance: FakeInstance, remote: Rivetr) -> None:
    rows: list[dict[str, Any]] = [
        {"key": "A", "value": "1\n2", "is_secret": False},
        {"key": "PW", "value": None, "is_secret": True},
    ]
    instance.on("GET /api/apps/a/env-vars?limit=200", items(*rows))
    assert remote("env", "list", "a").stdout.splitlines() == ["KEY  VALUE", "A    1\\n2", "PW   (secret)"]
    assert json.loads(remote("env", "list", "a", "--json").stdout)["items"] == rows


def test_env_set_keeps_a_secret_secret(instance: FakeInstance, remote: Rivetr) -> None:
    instance.on("GET /api/apps/a/env-vars?limit=200", items({"key": "PW", "value": None, "is_secret": True}))
    for key in ("A", "PW"):
        instance.on(f"PUT /api/apps/a/env-vars/{key}", Reply({"key": key, "value": None, "is_secret": True}))
    done = remote("env", "set", "a", "PW=-", "A=x=y ", stdin="from stdin\nline 2\n")
    assert done.returncode == 0 and done.stdout.startswith("Set PW.\nSet A.\n")
    sent = [asked.body for asked in instance.asked if asked.method == "PUT"]
    assert sent == [{"value": "from stdin\nline 2", "is_secret": True}, {"value": "x=y ", "is_secret": False}]
    remote("env", "set", "a", "--no-secret", "PW=p")
    remote("env", "set", "--secret", "a", "A=")
    sent = [asked.body for asked in instance.asked if asked.method == "PUT"][2:]
    assert sent == [{"value": "p", "is_secret": False}, {"value": "", "is_secret": True}]


@pytest.mark.parametrize("arguments", [["hunter2hunter2"], ["=hunter2"], ["A=-", "B=-"], ["A=1", "A=2"], []])
def test_env_set_refuses_what_makes_no_sense_before_it_asks(
    instance: FakeInstance, remote: Rivetr, arguments: list[str]
) -> None:
    done = remote("env", "set", "a", *arguments)
    assert done.returncode == 2 and "Error: " in done.stderr
    assert "hunter2" not in done.stderr
    assert instance.asked == []


def test_env_unset_removes_each(instance: FakeInstance, remote: Rivetr) -> None:
    instance.on("DELETE /api/apps/a/env-vars/A", Reply(status=204))
    instance.on("DELETE /api/apps/a/env-vars/B", refusal(404, "not_found", "a has no variable 'B'."))
    done = remote("env", "unset", "a", "A", "B")
    assert (done.returncode, done.stdout, done.stderr) == (1, "Removed A.\n", "rivetr: a has no variable 'B'.\n")


def test_routes_is_a_table(instance: FakeInstance, remote: Rivetr) -> None:
    rows: list[dict[str, Any]] = [
        {"domain": "a.localhost", "path_prefix": "/", "backends": ["10.0.0.2:80", "10.0.0.3:80"], "app": "a"},
        {"domain": "b.localhost", "path_prefix": "/api", "backends": [], "app": None},
    ]
    instance.on("GET /api/routes?limit=200", items(*rows))
    assert remote("routes").stdout.splitlines() == [
        "DOMAIN       PATH  APP  BACKENDS",
        "a.localhost  /     a    10.0.0.2:80, 10.0.0.3:80",
        "b.localhost  /api  -    -",
    ]
    assert json.loads(remote("routes", "--json").stdout) == {"items": rows, "next": None}


def test_status_of_an_app_lists_its_last_deployments(instance: FakeInstance, remote: Rivetr) -> None:
    status = {"state": "failed", "url": "http://a.localhost", "containers": [], "deployment_id": "d1"}
    instance.on("GET /api/apps/a/status", Reply(status))
    deployment = {
        "id": "d1", "status": "running", "trigger": "api", "commit_sha": "0123456789abcdef", "error": None,
        "commit_message": "Say \x1b[31mhello\n\nmore", "started_at": "2026-01-02T03:04:05.678Z",
    }  # fmt: skip
    failed = {**deployment, "id": "d2", "status": "failed", "error": "Step 2 went wrong."}
    instance.on("GET /api/apps/a/deployments?limit=5", items(failed, deployment))
    assert remote("status", "a").stdout.splitlines() == [
        "failed a, http://a.localhost",
        "DEPLOYMENT  STATUS   TRIGGER  COMMIT    STARTED              MESSAGE",
        "d2          failed   api      01234567  2026-01-02 03:04:05  Step 2 went wrong.",
        "d1          running  api      01234567  2026-01-02 03:04:05  Say hello",
    ]
    assert json.loads(remote("status", "a", "--json").stdout) == status


def test_status_of_the_instance_needs_no_token_and_fails_when_something_is_down(
    instance: FakeInstance, local: Rivetr
) -> None:
    instance.on("GET /health", Reply(HEALTH), Reply({**HEALTH, "status": "degraded", "worker": "down"}, 503))
    done = local("status", RIVETR_URL=instance.url)
    assert done.returncode == 0 and done.stdout.startswith(f"ok {instance.url} (1.0)\n")
    done = local("status", RIVETR_URL=instance.url)
    assert done.returncode == 1 and "worker   down" in done.stdout
    done = local("status", "--json", RIVETR_URL=instance.url)
    assert (done.returncode, json.loads(done.stdout)["worker"]) == (1, "down")
    assert {asked.token for asked in instance.asked} == {None}


@pytest.mark.parametrize(
    ("variables", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_want_them(
    instance: FakeInstance, environment: dict[str, str], tmp_path: Path, variables: dict[str, str], is_coloured: bool
) -> None:
    instance.on("GET /health", Reply(HEALTH))
    ours, theirs = pty.openpty()
    mine = {name: value for name, value in environment.items() if name != "NO_COLOR"}
    subprocess.run(
        [sys.executable, "-m", "rivetr", "status"],
        cwd=tmp_path,
        env={**mine, "TERM": "xterm", "RIVETR_URL": instance.url, "RIVETR_TOKEN": TOKEN, **variables},
        stdout=theirs,
        timeout=20,
        check=True,
    )
    shown = os.read(ours, 10_000)
    os.close(ours)
    os.close(theirs)
    assert b"docker" in shown and (b"\x1b[" in shown) is is_coloured


def test_a_terminal_that_cannot_show_a_character_still_gets_the_line(instance: FakeInstance, remote: Rivetr) -> None:
    row = {"domain": "a.localhost", "path_prefix": "/", "backends": [], "app": "snow\N{SNOWMAN}man\ud800"}
    instance.on("GET /api/routes?limit=200", items(row))
    done = remote("routes", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "snow?man?" in done.stdout


def test_every_command_explains_itself(local: Rivetr) -> None:
    listed = local("--help")
    assert listed.returncode == 0
    for words in ("doctor", "apps create", "deploy", "logs", "env set", "env unset", "env list", "rollback", "routes",
                  "status", "token create", "user create"):  # fmt: skip
        done = local(*words.split(), "--help")
        assert (done.returncode, "--json" in done.stdout) == (0, True), words
        assert words.split()[0] in listed.stdout
