"""Webhooks through the web application and its database, without a worker: what is queued stays queued."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from sqlalchemy import delete, select
from werkzeug.test import TestResponse

from rivetr import bootstrap, config, crypto, db, queue, tasks
from rivetr.factory import MAX_BODY_BYTES, create_app
from rivetr.models import App, Delivery, Deployment, Webhook
from rivetr.services import webhooks

PAYLOADS = Path(__file__).parent.parent / "git" / "payloads"
URLS = {
    "github": "https://github.com/acme/shop.git",
    "gitlab": "git@gitlab.com:Acme/Shop.git",
    "gitea": "ssh://git@gitea.example.com:2222/acme/shop",
    "bitbucket": "https://bitbucket.org/acme/shop",
}
NAMES = sorted(URLS)
COMMIT = "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"
OWN, CONFIGURED = "schlüssel of the app", "the configured secret"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The web application of a fresh instance; what a process keeps once is put back at the end."""
    names = ("GITHUB_SECRET", "GITLAB_TOKEN", "GITEA_SECRET", "BITBUCKET_SECRET")
    environ = {"RIVETR_SERVER__DATA_DIR": str(tmp_path_factory.mktemp("data"))}
    settings = config.load(environ={**environ, **{f"RIVETR_WEBHOOKS__{name}": CONFIGURED for name in names}})
    with pytest.MonkeyPatch.context() as kept:
        for place, name in ((config, "_current"), (crypto, "_key"), (db, "_sessions"), (queue.huey, "_storage")):
            kept.setattr(place, name, getattr(place, name))
        bootstrap.start(settings, with_database=False)
        yield create_app(settings)


@pytest.fixture
def web(instance: Flask) -> Iterator[Flask]:
    """The application without any app, delivery or task."""
    with instance.app_context(), db.transaction() as rows:
        for model in (Delivery, App):
            rows.execute(delete(model))
    queue.huey.storage.flush_queue()
    yield instance
    with instance.app_context():
        db.session().rollback()


def add_app(web: Flask, name: str, secret: str | None, **values: Any) -> str:
    """An app in the database; its id."""
    with web.app_context(), db.transaction() as rows:
        app = App(name=name, **{"git_url": URLS["github"], **values})
        rows.add(app)
        rows.flush()
        if secret is not None:
            app.webhook = Webhook()
            app.webhook.set_secret(app.id, secret)
        return app.id


def payload_of(name: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((PAYLOADS / f"{name}.json").read_text("utf-8"))
    return payload


def headers_of(name: str, body: bytes, secret: str, delivery: str) -> dict[str, str]:
    digest = crypto.sign(secret, body)
    # A header's bytes, as WSGI gives them.
    token = secret.encode().decode("latin-1")
    return {
        "github": {"X-GitHub-Event": "push", "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": f"sha256={digest}"},
        "gitea": {"X-Gitea-Event": "push", "X-Gitea-Delivery": delivery, "X-Gitea-Signature": digest},
        "gitlab": {"X-Gitlab-Event": "Push Hook", "Idempotency-Key": delivery, "X-Gitlab-Token": token},
        "bitbucket": {"X-Event-Key": "repo:push", "X-Request-UUID": delivery, "X-Hub-Signature": f"sha256={digest}"},
    }[name]


def post(web: Flask, name: str, body: bytes, headers: Mapping[str, str]) -> TestResponse:
    return web.test_client().post(
        f"/webhooks/{name}", data=body, headers={"Content-Type": "application/json", **headers}
    )


def send(web: Flask, name: str, payload: Any, secret: str = OWN, delivery: str = "1") -> TestResponse:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return post(web, name, body, headers_of(name, body, secret, delivery))


def answered(response: TestResponse) -> Any:
    return response.get_json()


def stored(web: Flask) -> tuple[int, int, int]:
    """How many deliveries and deployments are stored, and how many tasks queued."""
    with web.app_context():
        rows = db.session()
        return len(rows.scalars(select(Delivery)).all()), len(rows.scalars(select(Deployment)).all()), queue.depth()


@pytest.mark.parametrize("secret", [OWN, None], ids=["own", "configured"])
@pytest.mark.parametrize("name", NAMES)
def test_a_push_queues_a_deployment_of_its_commit(web: Flask, name: str, secret: str | None) -> None:
    app_id = add_app(web, "shop", secret, git_url=URLS[name])
    add_app(web, "elsewhere", secret, git_url=URLS[name].replace("hop", "hop2"))
    response = send(web, name, payload_of(name), secret or CONFIGURED)
    assert response.status_code == 202, response.text
    (id,) = answered(response)["deployments"]
    with web.app_context():
        deployment = db.session().get_one(Deployment, id)
        found = (deployment.app_id, deployment.ref, deployment.trigger, deployment.status, deployment.requested_by)
    assert found == (app_id, COMMIT, "webhook", "pending", "webhook")
    assert stored(web) == (1, 1, 1)


def test_each_branch_of_one_push_goes_to_its_app(web: Flask) -> None:
    main = add_app(web, "shop", OWN, git_url=URLS["bitbucket"])
    tea = add_app(web, "tea", OWN, git_url=URLS["bitbucket"], branch="feature/tea")
    add_app(web, "old", OWN, git_url=URLS["bitbucket"], branch="old")
    ids = answered(send(web, "bitbucket", payload_of("bitbucket")))["deployments"]
    with web.app_context():
        found = {db.session().get_one(Deployment, id).app_id: db.session().get_one(Deployment, id).ref for id in ids}
    assert found == {main: COMMIT, tea: "b58c2e1f0d9a4c6e8f7a1b2c3d4e5f60718293a4"}


def test_a_secret_starts_only_the_apps_that_have_it(web: Flask) -> None:
    own, other, none = (add_app(web, name, secret) for name, secret in (("a", OWN), ("b", "another one"), ("c", None)))
    for delivery, secret, expected in (("1", OWN, own), ("2", "another one", other), ("3", CONFIGURED, none)):
        (id,) = answered(send(web, "github", payload_of("github"), secret, delivery))["deployments"]
        with web.app_context():
            assert db.session().get_one(Deployment, id).app_id == expected


def test_webhooks_that_share_a_delivery_s_id_start_each_its_own_app(web: Flask) -> None:
    """GitHub sends one event to all webhooks under one id; a second app must not be lost to the first."""
    add_app(web, "a", OWN)
    add_app(web, "b", "another one")
    first, second = (send(web, "github", payload_of("github"), secret) for secret in (OWN, "another one"))
    assert (first.status_code, second.status_code) == (202, 202)
    assert stored(web) == (1, 2, 2)
    for response, secret in ((first, OWN), (second, "another one")):
        again = answered(send(web, "github", payload_of("github"), secret))
        assert again == {"ignored": "This delivery was received before.", **answered(response)}, "only one's own"
    assert stored(web) == (1, 2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_repeated_delivery_starts_nothing_and_names_the_first(web: Flask, name: str) -> None:
    add_app(web, "shop", OWN, git_url=URLS[name])
    first = send(web, name, payload_of(name))
    again = send(web, name, payload_of(name))
    assert again.status_code == 200
    assert answered(again) == {"ignored": "This delivery was received before.", **answered(first)}
    assert send(web, name, payload_of(name), delivery="2").status_code == 202


def test_without_an_id_the_body_is_the_delivery(web: Flask) -> None:
    add_app(web, "shop", OWN)
    changed = {**payload_of("github"), "after": "1" * 40}
    codes = [send(web, "github", payload, delivery="").status_code for payload in (payload_of("github"), changed) * 2]
    assert codes == [202, 202, 200, 200]


def test_of_identical_deliveries_at_once_one_starts_something(web: Flask) -> None:
    add_app(web, "shop", OWN)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: send(web, "github", payload_of("github")), range(16)))
    assert sorted(response.status_code for response in responses) == [200] * 15 + [202]
    assert len({tuple(answered(response)["deployments"]) for response in responses}) == 1
    assert stored(web) == (1, 1, 1)


def test_the_deployment_outlives_a_queue_that_fails(web: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError("the queue is gone")

    add_app(web, "shop", OWN)
    with monkeypatch.context() as broken:
        broken.setattr(tasks, "deploy", fail)
        assert send(web, "github", payload_of("github")).status_code == 500
    assert stored(web) == (1, 1, 0)
    with web.app_context():
        assert db.session().scalars(select(Deployment.status)).all() == ["pending"]


def test_a_failing_write_leaves_neither_delivery_nor_deployment(web: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Deployment:
        raise RuntimeError("broken off")

    add_app(web, "a", OWN)
    with monkeypatch.context() as broken:
        broken.setattr(webhooks, "_start", fail)
        assert send(web, "github", payload_of("github")).status_code == 500
    assert stored(web) == (0, 0, 0)
    assert send(web, "github", payload_of("github")).status_code == 202, "the same delivery may come again"


def test_deliveries_are_forgotten_after_thirty_days(web: Flask) -> None:
    add_app(web, "shop", OWN)
    with web.app_context(), db.transaction() as rows:
        for days in (29, 31):
            received = db.now() - timedelta(days=days)
            rows.add(Delivery(provider="github", delivery_id=f"{days} days", event="push", received_at=received))
    assert send(web, "github", payload_of("github"), delivery="new").status_code == 202
    with web.app_context():
        assert set(db.session().scalars(select(Delivery.delivery_id))) == {"29 days", "new"}


def without_commits(payload: dict[str, Any]) -> None:
    payload["after"] = "0" * 40


def as_tag(payload: dict[str, Any]) -> None:
    payload["ref"] = "refs/tags/main"


def on_another_branch(payload: dict[str, Any]) -> None:
    payload["ref"] = "refs/heads/main;id"


def of_another_repository(payload: dict[str, Any]) -> None:
    payload["repository"] = {"clone_url": "https://github.com/acme/shop.git.example.com"}


@pytest.mark.parametrize("change", [without_commits, as_tag, on_another_branch, of_another_repository])
def test_what_concerns_no_app_is_ignored_with_a_reason(web: Flask, change: Callable[[dict[str, Any]], None]) -> None:
    add_app(web, "shop", OWN)
    payload = payload_of("github")
    change(payload)
    response = send(web, "github", payload)
    assert (response.status_code, list(answered(response))) == (200, ["ignored"])
    assert stored(web) == (0, 0, 0)


def test_an_app_that_does_not_deploy_by_itself_is_left_alone(web: Flask) -> None:
    add_app(web, "shop", OWN, auto_deploy=False)
    assert answered(send(web, "github", payload_of("github")))["ignored"]
    assert stored(web) == (0, 0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_another_event_is_ignored_whatever_it_says(web: Flask, name: str) -> None:
    body = b"{}"
    add_app(web, "shop", OWN)
    headers = {**headers_of(name, body, OWN, "1"), "X-GitHub-Event": "ping", "X-Gitea-Event": "create"}
    headers.update({"X-Gitlab-Event": "Tag Push Hook", "X-Event-Key": "issue:created"})
    response = post(web, name, body, headers)
    assert (response.status_code, list(answered(response))) == (200, ["ignored"])


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_signature_learns_and_leaves_nothing(web: Flask, name: str) -> None:
    add_app(web, "shop", OWN, git_url=URLS[name])
    body = json.dumps(payload_of(name)).encode()
    good = headers_of(name, body, OWN, "1")
    (signing,) = (key for key in good if "Signature" in key or "Token" in key)
    answers = {
        post(web, name, sent, {**good, signing: value}).get_data()
        for sent in (body, b"{not json", b"")
        for value in ("", "x", "sha256=", "sha256=\xff", "\xc3\x28", good[signing].upper() + "0", "0" * 5000)
    }
    (answer,) = (json.loads(answer) for answer in answers)
    assert answer["error"]["code"] == "unauthenticated"
    assert "webhook secret" in answer["error"]["message"]
    assert "shop" not in json.dumps(answer)
    assert post(web, name, body, {key: good[key] for key in good if key != signing}).status_code == 401
    assert stored(web) == (0, 0, 0)


def test_without_any_secret_nothing_is_accepted(web: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_app(web, "shop", None)
    monkeypatch.setattr(config, "_current", config.load(environ={"RIVETR_SERVER__DATA_DIR": str(tmp_path)}))
    for name in NAMES:
        response = send(web, name, payload_of(name), "")
        assert (response.status_code, answered(response)["error"]["code"]) == (401, "unauthenticated")
        assert f"webhooks.{name}" in answered(response)["error"]["message"], "how to set one"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"[" * 100_000, b'{"ref":' + b"9" * 5000 + b"}", b"payload=%7B%7D"],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("name", NAMES)
def test_a_signed_body_that_cannot_be_read_is_refused(web: Flask, name: str, body: bytes) -> None:
    add_app(web, "shop", OWN)
    response = send(web, name, body)
    assert (response.status_code, answered(response)["error"]["code"]) == (400, "unreadable")


def test_half_a_character_in_a_branch_is_unreadable(web: Flask) -> None:
    add_app(web, "shop", OWN)
    assert send(web, "github", {**payload_of("github"), "ref": "refs/heads/\ud800"}).status_code == 400


def test_addresses_that_are_none_match_nothing(web: Flask) -> None:
    add_app(web, "shop", OWN)
    odd = {"clone_url": "https://[::1", "ssh_url": "\ud800", "git_url": "http://a:b:c/", "html_url": ["x"]}
    assert "ignored" in answered(send(web, "github", {**payload_of("github"), "repository": odd}))


@pytest.mark.parametrize("form", [b"", b"payload", b"payload=%7B", b"other=%7B%7D", b"&" * 50, b"payload=[]"])
def test_a_form_without_a_payload_is_refused(web: Flask, form: bytes) -> None:
    add_app(web, "shop", OWN)
    headers = {**headers_of("github", form, OWN, "1"), "Content-Type": "application/x-www-form-urlencoded"}
    assert post(web, "github", form, headers).status_code == 400


def test_a_form_is_signed_as_it_was_sent(web: Flask) -> None:
    add_app(web, "shop", OWN)
    form = urlencode({"payload": json.dumps(payload_of("github"))}).encode()
    headers = {
        **headers_of("github", form, OWN, "1"),
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
    }
    assert post(web, "github", form, headers).status_code == 202


def test_the_door_answers_programs(web: Flask) -> None:
    """Unknown server, wrong method, too much: JSON each time, and no CSRF token is asked for."""
    body = b" " * (MAX_BODY_BYTES + 1)
    codes = {
        "not_found": post(web, "sourceforge", b"{}", {}),
        "method_not_allowed": web.test_client().get("/webhooks/github"),
        "request_entity_too_large": send(web, "github", body, CONFIGURED),
    }
    assert {code: answered(response)["error"]["code"] for code, response in codes.items()} == {c: c for c in codes}
    assert [response.status_code for response in codes.values()] == [404, 405, 413]


def test_a_delivery_s_id_of_any_length_and_kind_is_kept(web: Flask) -> None:
    add_app(web, "shop", OWN)
    for delivery in ("é" * 50, "x" * 5000, "' OR 1=1 --"):
        assert send(web, "github", payload_of("github"), delivery=delivery).status_code == 202
        assert send(web, "github", payload_of("github"), delivery=delivery).status_code == 200
    with web.app_context():
        assert all(len(id) <= 200 for id in db.session().scalars(select(Delivery.delivery_id)))


def test_two_servers_may_give_the_same_id(web: Flask) -> None:
    add_app(web, "shop", OWN)
    from_gitlab = {**payload_of("gitlab"), "project": {"git_http_url": URLS["github"]}}
    codes = [send(web, "github", payload_of("github")).status_code, send(web, "gitlab", from_gitlab).status_code]
    assert codes == [202, 202]
