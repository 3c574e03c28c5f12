"""From a Git repository to a running app, through the real engine and the real proxy."""

import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from tests.git_server import GitServer, Repository, git, web_app
from tests.instance import Answer, Instance, wait_for

STAGES = ["validate", "clone", "build", "deploy", "health", "switch"]
Make = Callable[..., Repository]


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def containers_of(deployment: dict[str, object]) -> list[str]:
    found = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label=rivetr.deployment={deployment['id']}")
    return found.split()


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_repository_becomes_an_app_that_answers_at_its_host(
    rivetr: Instance, git_server: GitServer, repository: Make, scheme: str
) -> None:
    source = repository("first")
    url = source.file_url if scheme == "file" else git_server.url(source)
    app = rivetr.create_app(f"first-{scheme}", url, healthcheck="/health")
    assert rivetr.visit(f"first-{scheme}.localhost").status == 503
    deployment = rivetr.deploy(app["id"])
    assert deployment["status"] == "running", deployment["error"]
    assert [stage["name"] for stage in deployment["stages"]] == STAGES
    assert {stage["status"] for stage in deployment["stages"]} == {"done"}
    assert deployment["commit_sha"] == git(source.folder, "rev-parse", "HEAD")
    assert deployment["commit_message"] == "First"
    assert rivetr.visit(f"first-{scheme}.localhost").text == "first"
    assert "Step 1/" in rivetr.log_of(deployment)
    assert containers_of(deployment) == [deployment["container_id"]]
    labels = docker("inspect", "--format", '{{index .Config.Labels "rivetr.app"}}', deployment["container_id"])
    assert labels == f"first-{scheme}"
    assert docker("port", deployment["container_id"]) == ""


def test_a_new_version_takes_over_without_a_lost_request(rivetr: Instance, repository: Make) -> None:
    source = repository("old")
    rivetr.create_app("rolling", source.file_url, healthcheck="/health")
    first = rivetr.deploy("rolling")
    source.commit({"www/index.html": "new"}, "Second")
    answers: list[Answer] = []
    over = threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            answers.append(rivetr.visit("rolling.localhost"))

    visitors = [threading.Thread(target=keep_asking) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    second = rivetr.deploy("rolling")
    wait_for(lambda: answers[-1].text == "new", what="the new version")
    over.set()
    for visitor in visitors:
        visitor.join()
    assert second["status"] == "running"
    assert {answer.status for answer in answers} == {200}
    assert {answer.text for answer in answers} == {"old", "new"}
    assert wait_for(lambda: not containers_of(first), what="the old container to go")
    assert rivetr.get(f"/api/deployments/{first['id']}")["status"] == "stopped"


def test_a_tag_and_a_commit_can_be_deployed(rivetr: Instance, repository: Make) -> None:
    source = repository("one")
    first = git(source.folder, "rev-parse", "HEAD")
    git(source.folder, "tag", "v1")
    source.commit({"www/index.html": "two"}, "Second")
    rivetr.create_app("refs", source.file_url)
    assert rivetr.deploy("refs")["status"] == "running"
    assert rivetr.visit("refs.localhost").text == "two"
    by_tag = rivetr.deploy("refs", "v1")
    assert (by_tag["commit_sha"], by_tag["ref"]) == (first, "v1")
    assert rivetr.visit("refs.localhost").text == "one"
    by_commit = rivetr.deploy("refs", first)
    assert by_commit["status"] == "running", by_commit["error"]


def test_environment_and_limits_reach_the_container(rivetr: Instance, repository: Make) -> None:
    source = repository("env", web_app("env", **{"www/cgi-bin/env": "#!/bin/sh\necho\nenv\n"}))
    (source.folder / "www/cgi-bin/env").chmod(0o755)
    source.commit({}, "Executable")
    rivetr.create_app("env", source.file_url, memory_limit="64m", cpu_limit="0.5")
    for body in (
        {"key": "GREETING", "value": 'it\'s "quoted" $HOME\nline two'},
        {"key": "KEY", "value": "s3", "is_secret": True},
    ):
        assert rivetr.call("POST", "/api/apps/env/env-vars", body).status == 201
    deployment = rivetr.deploy("env")
    seen = rivetr.visit("env.localhost", "/cgi-bin/env").text
    assert 'GREETING=it\'s "quoted" $HOME\nline two\n' in seen
    assert "KEY=s3\n" in seen
    assert "PORT=3000\n" in seen
    limits = docker(
        "inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}", deployment["container_id"]
    )
    memory, cpus = limits.split()
    assert int(memory) == 64 << 20
    assert cpus in ("500000000", "0")
    listed = {item["key"]: item["value"] for item in rivetr.get("/api/apps/env/env-vars")["items"]}
    assert listed["KEY"] is None
    assert listed["GREETING"].startswith("it's")


def test_stop_start_restart_and_rollback(rivetr: Instance, repository: Make) -> None:
    source = repository("one")
    rivetr.create_app("life", source.file_url, healthcheck="/health")
    first = rivetr.deploy("life")
    source.commit({"www/index.html": "two"}, "Second")
    rivetr.deploy("life")
    rolled_back = rivetr.call("POST", f"/api/deployments/{first['id']}/rollback").json
    assert rivetr.ended(rolled_back["id"])["status"] == "running"
    assert rivetr.visit("life.localhost").text == "one"
    stages = {stage["name"]: stage["status"] for stage in rivetr.get(f"/api/deployments/{rolled_back['id']}")["stages"]}
    assert (stages["clone"], stages["build"], stages["switch"]) == ("skipped", "skipped", "done")

    assert rivetr.call("POST", "/api/apps/life/stop").status == 202
    wait_for(lambda: rivetr.visit("life.localhost").status == 503, what="the app to stop")
    assert "stopped" in rivetr.visit("life.localhost").text
    assert rivetr.get("/api/apps/life/status")["state"] == "stopped"
    started = rivetr.call("POST", "/api/apps/life/start")
    assert rivetr.ended(started.json["id"])["trigger"] == "restart"
    assert rivetr.visit("life.localhost").text == "one"
    restarted = rivetr.call("POST", "/api/apps/life/restart")
    assert rivetr.ended(restarted.json["id"])["status"] == "running"
    assert rivetr.get("/api/apps/life/status")["state"] == "running"


def test_a_waiting_and_a_running_deployment_can_be_cancelled(rivetr: Instance, repository: Make) -> None:
    files = web_app("slow")
    source = repository("slow", {**files, "Dockerfile": files["Dockerfile"] + "RUN sleep 60\n"})
    rivetr.create_app("cancelled", source.file_url)
    running = rivetr.call("POST", "/api/apps/cancelled/deploy").json
    waiting = rivetr.call("POST", "/api/apps/cancelled/deploy").json
    wait_for(lambda: rivetr.get(f"/api/deployments/{running['id']}")["status"] == "building", what="the build")
    assert rivetr.get(f"/api/deployments/{waiting['id']}")["status"] == "pending"
    assert rivetr.call("POST", f"/api/deployments/{waiting['id']}/cancel").status == 202
    assert rivetr.ended(waiting["id"])["status"] == "cancelled"
    begun = time.monotonic()
    assert rivetr.call("POST", f"/api/deployments/{running['id']}/cancel").status == 202
    ended = rivetr.ended(running["id"])
    assert ended["status"] == "cancelled"
    assert time.monotonic() - begun < 20
    again = rivetr.call("POST", f"/api/deployments/{running['id']}/cancel")
    assert (again.status, again.json["error"]["code"]) == (409, "conflict")


def test_deleting_an_app_leaves_nothing(rivetr: Instance, repository: Make) -> None:
    rivetr.create_app("gone", repository("gone").file_url)
    deployment = rivetr.deploy("gone")
    image = deployment["image"]
    assert docker("image", "ls", "--quiet", image)
    assert rivetr.call("DELETE", "/api/apps/gone").status == 204
    assert not containers_of(deployment)
    assert not docker("image", "ls", "--quiet", image)
    assert rivetr.call("GET", f"/api/deployments/{deployment['id']}").status == 404
    assert rivetr.visit("gone.localhost").status == 404
