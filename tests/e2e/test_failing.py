"""What people get wrong: each is refused or fails with a sentence to act on, and what served goes on serving."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.git_server import GitServer, Repository, web_app
from tests.instance import Instance, running

Make = Callable[..., Repository]


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": "No_Label"}, "name", "DNS label"),
        ({"name": "a" * 64}, "name", "63"),
        ({"name": "-x"}, "name", "DNS label"),
        ({"name": None}, "name", "null"),
        ({"port": 0}, "port", "1 to 65535"),
        ({"port": 65536}, "port", "1 to 65535"),
        ({"port": "3000"}, "port", "1 to 65535"),
        ({"port": True}, "port", "1 to 65535"),
        ({"git_url": "--upload-pack=touch /tmp/x"}, "git_url", "plain URL"),
        ({"git_url": "ext::sh -c whoami"}, "git_url", "plain URL"),
        ({"git_url": "ext::whoami"}, "git_url", "plain URL"),
        ({"git_url": "gopher://example.com/x"}, "git_url", "https"),
        ({"git_url": "https://user:secret@example.com/x.git"}, "git_url", "credentials"),
        ({"git_url": "ssh://-oProxyCommand=x/y"}, "git_url", "host"),
        ({"branch": "-x"}, "branch", "such as main"),
        ({"branch": "a..b"}, "branch", "such as main"),
        ({"dockerfile": "../Dockerfile"}, "dockerfile", ".."),
        ({"dockerfile": "/etc/passwd"}, "dockerfile", "repository"),
        ({"domain": "no domain"}, "domain", "host name"),
        ({"memory_limit": "lots"}, "memory_limit", "512m"),
        ({"cpu_limit": "-1"}, "cpu_limit", "0.5"),
        ({"healthcheck": "health"}, "healthcheck", "/"),
        ({"prot": 3000}, "prot", "not known"),
    ],
)
def test_wrong_values_are_refused_by_name(rivetr: Instance, fields: dict[str, Any], field: str, words: str) -> None:
    body = {"name": "wrong", "git_url": "https://example.com/x.git", **fields}
    answer = rivetr.call("POST", "/api/apps", body)
    assert answer.status == 422, answer.text
    error = answer.json["error"]
    assert error["code"] == "invalid"
    assert list(error["fields"]) == [field]
    assert words in error["fields"][field]
    assert rivetr.call("GET", "/api/apps/wrong").status == 404


def test_a_name_or_domain_that_is_taken_is_a_conflict(rivetr: Instance) -> None:
    url = "https://example.com/x.git"
    rivetr.create_app("owner", url, domain="owned.example.com")
    again = rivetr.call("POST", "/api/apps", {"name": "owner", "git_url": url})
    assert (again.status, again.json["error"]["fields"]) == (409, {"name": "is taken"})
    other = rivetr.call("POST", "/api/apps", {"name": "other", "git_url": url, "domain": "OWNED.example.com"})
    assert other.status == 409
    assert "owned.example.com" in other.json["error"]["message"]
    assert rivetr.call("GET", "/api/apps/other").status == 404
    generated = rivetr.call("POST", "/api/apps", {"name": "other", "git_url": url, "domain": "owner.localhost"})
    assert generated.status == 201, "an app with a domain of its own does not answer at its generated name"


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"\xff\xfe", 400), (b"[1]", 422), (b'"x"', 422), (b"[" * 100_000, 400)]
)
def test_a_body_that_is_no_object_is_refused(rivetr: Instance, body: bytes, status: int) -> None:
    from tests.instance import ADMIN_TOKEN, fetch

    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "application/json"}
    answer = fetch(rivetr.api_port, "/api/apps", method="POST", body=body, headers=headers)
    assert answer.status == status, answer.text
    assert answer.json["error"]["message"]


CRASHING = 'FROM busybox:latest\nCMD ["sh", "-c", "echo no database; exit 3"]\n'
SILENT = 'FROM busybox:latest\nCMD ["sleep", "1000"]\n'
BROKEN = "FROM busybox:latest\nRUN echo before; false\n"
BROKEN_BUILDKIT = "FROM busybox:latest\nRUN --mount=type=cache,target=/c echo before; false\n"


@pytest.mark.parametrize(
    ("files", "fields", "stage", "words"),
    [
        ({"README": "none"}, {}, "build", ["no 'Dockerfile'", "add a Dockerfile"]),
        ({"Dockerfile": BROKEN}, {}, "build", ["echo before; false", "code: 1"]),
        ({"Dockerfile": BROKEN_BUILDKIT}, {}, "build", ["echo before; false", "exit code 1"]),
        ({"Dockerfile": "FRM busybox\n"}, {}, "build", ["FRM"]),
        ({"Dockerfile": CRASHING}, {}, "health", ["exit", "3", "no database"]),
        ({"Dockerfile": 'FROM busybox:latest\nCMD ["/nope"]\n'}, {}, "deploy", ["/nope"]),
        (web_app("x"), {"healthcheck": "/missing"}, "health", ["/missing", "404"]),
        ({"Dockerfile": SILENT}, {}, "health", ["3000"]),
        (web_app("x"), {"branch": "nowhere"}, "clone", ["nowhere", "branch"]),
    ],
    ids=[
        "no-dockerfile",
        "failing-step",
        "buildkit",
        "syntax",
        "exits",
        "no-program",
        "unhealthy",
        "silent",
        "no-branch",
    ],
)
def test_what_cannot_run_fails_at_its_stage_and_leaves_nothing(
    impatient: Instance,
    repository: Make,
    request: pytest.FixtureRequest,
    files: dict[str, str],
    fields: dict[str, Any],
    stage: str,
    words: list[str],
) -> None:
    name = request.node.callspec.id
    impatient.create_app(name, repository("x", files).file_url, **fields)
    deployment = impatient.deploy(name)
    assert (deployment["status"], deployment["failed_stage"]) == ("failed", stage), deployment["error"]
    for word in words:
        assert word in deployment["error"]
    assert deployment["error"] in impatient.log_of(deployment)
    assert _left_of(deployment) == ""
    assert impatient.visit(f"{name}.localhost").status == 503


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance that gives up on a silent container after two seconds."""
    with running(tmp_path_factory.mktemp("impatient"), deploy__healthcheck_timeout="2") as instance:
        yield instance


def _left_of(deployment: dict[str, Any]) -> str:
    label = f"label=rivetr.deployment={deployment['id']}"
    listed = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--filter", label], check=True, capture_output=True, text=True
    )
    return listed.stdout


def test_a_failed_deployment_leaves_the_old_version_serving(impatient: Instance, repository: Make) -> None:
    source = repository("good")
    impatient.create_app("survivor", source.file_url, healthcheck="/health")
    first = impatient.deploy("survivor")
    source.commit({"Dockerfile": CRASHING}, "Broken")
    second = impatient.deploy("survivor")
    assert (second["status"], second["failed_stage"]) == ("failed", "health")
    assert impatient.visit("survivor.localhost").text == "good"
    status = impatient.get("/api/apps/survivor/status")
    assert status["state"] == "running"
    assert impatient.get(f"/api/deployments/{first['id']}")["status"] == "running"


def test_a_git_server_that_is_not_there_or_private_is_a_clone_failure(
    rivetr: Instance, git_server: GitServer, repository: Make, tmp_path: Path
) -> None:
    source = repository("private")
    missing = git_server.url(source).replace(source.folder.name, "nothing-here")
    rivetr.create_app("missing", missing)
    deployment = rivetr.deploy("missing")
    assert (deployment["failed_stage"], "no repository" in deployment["error"]) == ("clone", True), deployment["error"]
    rivetr.create_app("refused", "http://127.0.0.1:9/x.git")
    assert "cannot be reached" in rivetr.deploy("refused")["error"]
    with running(tmp_path, git__allow_private_networks="false") as strict:
        strict.create_app("private", git_server.url(source))
        deployment = strict.deploy("private")
        assert deployment["failed_stage"] == "clone"
        assert "git.allow_private_networks" in deployment["error"]
