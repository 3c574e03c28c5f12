"""Pushes that Git servers report: signed, matched to apps, started once."""

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rivetr.git.providers import PROVIDERS
from tests.git_server import GitServer, Repository, git
from tests.instance import Answer, Instance, fetch

Make = Callable[..., Repository]
SECRET = "a webhook secret"
COMMIT = "1" * 40


def signature(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def payload_of(provider: str, url: str, branch: str, commit: str) -> dict[str, Any]:
    if provider == "bitbucket":
        new = {"type": "branch", "name": branch, "target": {"hash": commit}}
        return {"repository": {"links": {"html": {"href": url}}}, "push": {"changes": [{"new": new}]}}
    pushed = {"ref": f"refs/heads/{branch}", "after": commit}
    if provider == "gitlab":
        return {**pushed, "project": {"git_http_url": url}}
    return {**pushed, "repository": {"clone_url": url}}


def headers_of(provider: str, body: bytes, secret: str, delivery: str) -> dict[str, str]:
    signed = signature(secret, body)
    return {
        "github": {
            "X-GitHub-Event": "push", "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": f"sha256={signed}",
        },
        "gitea": {"X-Gitea-Event": "push", "X-Gitea-Delivery": delivery, "X-Gitea-Signature": signed},
        "gitlab": {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Event-UUID": delivery, "X-Gitlab-Token": secret},
        "bitbucket": {
            "X-Event-Key": "repo:push", "X-Request-UUID": delivery, "X-Hub-Signature": f"sha256={signed}",
        },
    }[provider]  # fmt: skip


def send(
    rivetr: Instance,
    provider: str,
    payload: Any,
    secret: str = SECRET,
    delivery: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    body = json.dumps(payload).encode()
    given = headers_of(provider, body, secret, delivery or str(uuid.uuid4()))
    all_headers = {"Content-Type": "application/json", **given, **(headers or {})}
    return fetch(rivetr.api_port, f"/webhooks/{provider}", method="POST", body=body, headers=all_headers)


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_push_deploys_just_what_was_pushed(
    rivetr: Instance, git_server: GitServer, repository: Make, provider: str
) -> None:
    source = repository("pushed")
    url = git_server.url(source)
    name = f"push-{provider}"
    rivetr.create_app(name, url, webhook_secret=SECRET)
    commit = source.commit({"www/index.html": f"by {provider}"}, "Pushed")
    answer = send(rivetr, provider, payload_of(provider, url, "main", commit))
    assert answer.status == 202, answer.text
    (id,) = answer.json["deployments"]
    deployment = rivetr.ended(id)
    assert (deployment["status"], deployment["trigger"]) == ("running", "webhook"), deployment["error"]
    assert deployment["commit_sha"] == commit
    assert rivetr.visit(f"{name}.localhost").text == f"by {provider}"


@pytest.fixture
def hooked(
    rivetr: Instance, git_server: GitServer, repository: Make, request: pytest.FixtureRequest
) -> tuple[str, str]:
    """An app with a webhook secret, by name, and the URL of its repository."""
    source = repository("hooked")
    name = f"hooked-{abs(hash(request.node.nodeid)):x}"[:40]
    rivetr.create_app(name, git_server.url(source), webhook_secret=SECRET)
    return name, git_server.url(source)


def test_a_repeated_delivery_starts_nothing_twice(rivetr: Instance, hooked: tuple[str, str]) -> None:
    name, url = hooked
    payload = payload_of("github", url, "main", COMMIT)
    delivery = str(uuid.uuid4())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(rivetr, "github", payload, delivery=delivery), range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [202]
    again = send(rivetr, "github", payload, delivery=delivery)
    assert (again.status, "received before" in again.json["ignored"]) == (200, True)
    assert len(rivetr.get(f"/api/apps/{name}/deployments")["items"]) == 1


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@pytest.mark.parametrize("secret", ["wrong", "", "a webhook secret\u00e9"])
def test_a_bad_signature_is_refused_and_nothing_is_stored(
    rivetr: Instance, hooked: tuple[str, str], provider: str, secret: str
) -> None:
    name, url = hooked
    payload = payload_of(provider, url, "main", COMMIT)
    body = json.dumps(payload).encode()
    headers = {key: value.encode().decode("latin-1") for key, value in headers_of(provider, body, secret, "d").items()}
    answer = fetch(rivetr.api_port, f"/webhooks/{provider}", method="POST", body=body, headers=headers)
    assert (answer.status, answer.json["error"]["code"]) == (401, "unauthenticated")
    assert name not in answer.text
    bare = fetch(rivetr.api_port, f"/webhooks/{provider}", method="POST", body=b"{not json")
    assert bare.status == 401, "the signature comes before the parsing"
    assert rivetr.get(f"/api/apps/{name}/deployments")["items"] == []


def test_one_app_s_secret_deploys_no_other_app(
    rivetr: Instance, hooked: tuple[str, str], git_server: GitServer, repository: Make
) -> None:
    _, url = hooked
    rivetr.create_app("other-secret", url, webhook_secret="another secret")
    rivetr.create_app("no-secret", url)
    answer = send(rivetr, "github", payload_of("github", url, "main", COMMIT))
    assert len(answer.json["deployments"]) == 1
    assert rivetr.get("/api/apps/other-secret/deployments")["items"] == []
    assert rivetr.get("/api/apps/no-secret/deployments")["items"] == []


@pytest.mark.parametrize("change", ["branch", "repository", "deleted", "tag", "ping", "manual"])
def test_what_starts_nothing_says_why(rivetr: Instance, hooked: tuple[str, str], change: str) -> None:
    name, url = hooked
    payload = payload_of("github", url, "main", COMMIT)
    headers = {}
    if change == "branch":
        payload["ref"] = "refs/heads/other"
    elif change == "repository":
        payload["repository"]["clone_url"] = "https://example.com/not/this.git"
    elif change == "deleted":
        payload["after"] = "0" * 40
    elif change == "tag":
        payload["ref"] = "refs/tags/main"
    elif change == "ping":
        headers["X-GitHub-Event"] = "ping"
    else:
        assert rivetr.call("PATCH", f"/api/apps/{name}", {"auto_deploy": False}).status == 200
    answer = send(rivetr, "github", payload, headers=headers)
    assert answer.status == 200
    assert answer.json["ignored"]
    assert rivetr.get(f"/api/apps/{name}/deployments")["items"] == []


@pytest.mark.parametrize(
    "payload",
    [
        [], "x", 1, None, {}, {"ref": 1}, {"ref": "refs/heads/main", "after": "x", "repository": {}},
        {"ref": "refs/heads/main", "after": ["1"], "repository": {}}, {"ref": {}, "after": COMMIT, "repository": []},
        {"ref": "refs/heads/main", "after": "--upload-pack=x", "repository": {"clone_url": "x"}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_signed_body_that_makes_no_sense_is_unreadable(
    rivetr: Instance, hooked: tuple[str, str], provider: str, payload: Any
) -> None:
    answer = send(rivetr, provider, payload)
    assert (answer.status, answer.json["error"]["code"]) == (400, "unreadable"), answer.text


def test_a_form_encoded_body_is_read(rivetr: Instance, hooked: tuple[str, str]) -> None:
    from urllib.parse import urlencode

    body = urlencode({"payload": json.dumps(payload_of("github", hooked[1], "main", COMMIT))}).encode()
    headers = {**headers_of("github", body, SECRET, "form"), "Content-Type": "application/x-www-form-urlencoded"}
    answer = fetch(rivetr.api_port, "/webhooks/github", method="POST", body=body, headers=headers)
    assert answer.status == 202, answer.text


def test_an_unknown_provider_is_not_found(rivetr: Instance) -> None:
    answer = fetch(rivetr.api_port, "/webhooks/sourceforge", method="POST", body=b"{}")
    assert (answer.status, answer.json["error"]["code"]) == (404, "not_found")


def test_the_signature_is_that_of_github_s_documentation() -> None:
    headers = {
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    }
    assert PROVIDERS["github"].is_signed(headers, b"Hello, World!", "It's a Secret to Everybody")
    assert not PROVIDERS["github"].is_signed(headers, b"Hello, World?", "It's a Secret to Everybody")


def test_pushes_that_wait_are_overtaken_by_newer_ones(
    rivetr: Instance, git_server: GitServer, repository: Make
) -> None:
    from tests.git_server import web_app

    slow = web_app("slow")
    source = repository("slow", {**slow, "Dockerfile": slow["Dockerfile"] + "RUN sleep 3\n"})
    url = git_server.url(source)
    rivetr.create_app("overtaken", url, webhook_secret=SECRET)
    ids = []
    for number in range(3):
        commit = source.commit({"www/index.html": str(number)}, f"Push {number}")
        (id,) = send(rivetr, "gitea", payload_of("gitea", url, "main", commit)).json["deployments"]
        ids.append(id)
        if number == 0:
            from tests.instance import wait_for

            wait_for(lambda: rivetr.get(f"/api/deployments/{ids[0]}")["status"] != "pending", what="the first")
    last = rivetr.ended(ids[-1])
    assert last["status"] == "running"
    assert rivetr.get(f"/api/deployments/{ids[1]}")["status"] == "superseded"
    assert rivetr.visit("overtaken.localhost").text == "2"
    assert git(source.folder, "rev-parse", "HEAD") == last["commit_sha"]
