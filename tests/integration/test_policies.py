"""Policies through the web application: asked for over the API, kept in the database, published to the proxy."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete
from werkzeug.test import TestResponse

from proxy import contract
from rivetr import config, db
from rivetr.models import App, Deployment, ManualRoute, Release
from tests.integration.application import administrator, application

URL = "https://example.com/x.git"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with application(tmp_path_factory.mktemp("data")) as app:
        yield app


@pytest.fixture
def client(instance: Flask) -> Iterator[FlaskClient]:
    """An administrator's client of an instance without apps and routes."""
    with instance.app_context(), db.transaction() as rows:
        for model in (App, ManualRoute):
            rows.execute(delete(model))
    yield administrator(instance)
    with instance.app_context():
        db.session().rollback()


def published(host: str) -> dict[str, Any]:
    """The policy of a host's route as the proxy reads it."""
    with closing(contract.open_routes(config.current().routes_database, read_only=True)) as routes:
        return next(dict(route.policy) for route in contract.read(routes).routes if route.host == host)


def create(client: FlaskClient, **fields: Any) -> Any:
    answer = client.post("/api/apps", json={"name": "shop", "git_url": URL, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json


def patch(client: FlaskClient, policy: Any) -> TestResponse:
    return client.patch("/api/apps/shop", json={"policy": policy})


def test_an_app_has_no_policy_until_it_is_given_one(client: FlaskClient) -> None:
    assert create(client)["policy"] == {}
    assert published("shop.localhost") == {"app": "shop", "unavailable": "starting"}


def test_a_change_is_published_beside_what_the_app_says_itself(client: FlaskClient) -> None:
    create(client, healthcheck="/up", policy={"compress": True})
    changed = patch(client, {"paused": {}, "allow": ["10.0.0.0/8"]})
    assert changed.status_code == 200
    wanted = {"compress": True, "paused": {"limit_seconds": 30}, "allow": ["10.0.0.0/8"]}
    assert changed.json is not None
    assert changed.json["policy"] == wanted
    checks = {"health": {"path": "/up", "interval": 10, "timeout": 5, "threshold": 3}}
    assert published("shop.localhost") == {**wanted, **checks, "app": "shop", "unavailable": "starting"}
    patch(client, {"paused": None, "health": {"path": "/other"}})
    assert published("shop.localhost")["health"]["path"] == "/other"
    assert "paused" not in published("shop.localhost")


def test_a_mistake_changes_nothing_and_is_named(client: FlaskClient) -> None:
    create(client, policy={"compress": True})
    for policy, field in (
        ({"rate_limit": {"requests": 1}}, "policy.rate_limit.seconds"),
        ({"basic_auth": {"users": {"ann": None}}}, "policy.basic_auth.users.ann"),
        ({"canonical_host": "www.elsewhere.test"}, "policy.canonical_host"),
    ):
        answer = patch(client, policy)
        assert (answer.status_code, list((answer.json or {})["error"]["fields"])) == (422, [field])
    assert published("shop.localhost")["compress"] is True
    assert client.get("/api/apps/shop").json["policy"] == {"compress": True}  # type: ignore[index]


def test_a_put_replaces_the_policy_and_keeps_a_null_password(client: FlaskClient) -> None:
    create(client, policy={"compress": True, "basic_auth": {"users": {"ann": "hush"}}})
    stored = published("shop.localhost")["basic_auth"]["users"]["ann"]
    assert stored.startswith("scrypt$4096$8$1$")
    shown = client.get("/api/apps/shop").json["policy"]  # type: ignore[index]
    assert shown == {"compress": True, "basic_auth": {"realm": "Restricted", "users": {"ann": None}}}
    body = {"name": "shop", "git_url": URL, "policy": {"basic_auth": shown["basic_auth"]}}
    assert client.put("/api/apps/shop", json=body).json["policy"] == {"basic_auth": shown["basic_auth"]}  # type: ignore[index]
    assert published("shop.localhost")["basic_auth"]["users"]["ann"] == stored
    assert client.put("/api/apps/shop", json={"name": "shop", "git_url": URL}).json["policy"] == {}  # type: ignore[index]
    assert "basic_auth" not in published("shop.localhost")


def test_no_answer_holds_a_password_or_its_hash(client: FlaskClient) -> None:
    create(client, policy={"basic_auth": {"users": {"ann": "a-word-to-keep"}}})
    route = {
        "domain": "r.test",
        "backends": ["127.0.0.1:1"],
        "policy": {"basic_auth": {"users": {"bob": "a-word-to-keep"}}},
    }
    assert client.post("/api/routes", json=route).status_code == 201
    for path in ("/api/apps", "/api/apps/shop", "/api/routes", "/api/routes/r.test", "/api/routes/shop.localhost"):
        text = client.get(path).text
        assert '"users":{' in text.replace(" ", "")
        assert "a-word-to-keep" not in text and "scrypt" not in text
    rows = Path(config.current().database).read_bytes() + Path(config.current().routes_database).read_bytes()
    assert b"a-word-to-keep" not in rows


def test_a_route_made_by_hand_has_a_policy_of_its_own(client: FlaskClient) -> None:
    body = {"domain": "r.test", "path_prefix": "/api", "backends": ["127.0.0.1:1"], "policy": {"strip_prefix": True}}
    made = client.post("/api/routes", json=body)
    assert (made.status_code, (made.json or {})["policy"]) == (201, {"strip_prefix": True})
    assert published("r.test") == {"strip_prefix": True}
    wrong = client.post("/api/routes", json={**body, "domain": "s.test", "policy": {"strip": True}})
    assert list((wrong.json or {})["error"]["fields"]) == ["policy.strip"]


def test_the_check_is_the_one_that_the_live_image_passed(instance: Flask, client: FlaskClient) -> None:
    app_id = create(client, healthcheck="/up")["id"]
    with instance.app_context(), db.transaction() as rows:
        release = Release(app_id=app_id, image_ref="x", image_digest="x", settings={"healthcheck": "/up"})
        release.set_env(app_id, {})
        rows.add(release)
        rows.flush()
        live = Deployment(app_id=app_id, ref="main", trigger="api", requested_by="x", release_id=release.id)
        live.backends = [{"address": "10.0.0.1:80", "container_id": "c"}]
        rows.add(live)
        rows.flush()
        rows.get_one(App, app_id).live_deployment_id = live.id
    client.patch("/api/apps/shop", json={"healthcheck": "/of-the-next-version"})
    assert published("shop.localhost")["health"]["path"] == "/up"


def test_the_document_describes_policies(client: FlaskClient) -> None:
    described = json.dumps(client.get("/api/openapi.json").json)
    for key in ("rate_limit", "basic_auth", "keep_path", '"from"', "least_in_flight"):
        assert key in described
