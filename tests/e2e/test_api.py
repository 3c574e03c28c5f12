"""The REST contract, asked of a running instance."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import websocket

from proxy import contract
from tests.git_server import Repository
from tests.instance import ADMIN_TOKEN, Instance, fetch, free_port, wait_for

Make = Callable[..., Repository]
URL = "https://example.com/x.git"


def test_health_names_every_part(rivetr: Instance) -> None:
    answer = rivetr.call("GET", "/health", token=None)
    assert answer.status == 200
    wanted = {"status": "ok", "web": "ok", "worker": "ok", "proxy": "ok", "runtime": "docker"}
    assert {key: answer.json[key] for key in wanted} == wanted


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer nope", "Basic abc", "Bearer rvt_" + "x" * 43])
def test_no_or_bad_credentials_are_refused(rivetr: Instance, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    answer = fetch(rivetr.api_port, "/api/apps", headers=headers)
    assert (answer.status, answer.json["error"]["code"]) == (401, "unauthenticated")
    assert ADMIN_TOKEN not in answer.text


def test_a_token_may_do_what_its_scopes_say_and_nothing_after_it_is_removed(rivetr: Instance) -> None:
    made = rivetr.call("POST", "/api/tokens", {"name": "reader", "scopes": ["read"]})
    assert made.status == 201
    secret = made.json["token"]
    assert secret.startswith("rvt_")
    assert rivetr.call("GET", "/api/apps", token=secret).status == 200
    refused = rivetr.call("POST", "/api/apps", {"name": "x", "git_url": URL}, token=secret)
    assert (refused.status, refused.json["error"]["code"]) == (403, "forbidden")
    assert rivetr.call("GET", "/api/tokens", token=secret).status == 403
    listed = rivetr.get("/api/tokens")["items"]
    assert secret not in json.dumps(listed)
    assert rivetr.call("DELETE", f"/api/tokens/{made.json['id']}").status == 204
    assert rivetr.call("GET", "/api/apps", token=secret).status == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes.0"),
        ({"name": "x", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "scopes": ["read"], "expires_at": "tomorrow"}, "expires_at"),
        ({"scopes": ["read"]}, "name"),
    ],
)
def test_wrong_tokens_are_refused(rivetr: Instance, body: dict[str, Any], field: str) -> None:
    answer = rivetr.call("POST", "/api/tokens", body)
    assert (answer.status, list(answer.json["error"]["fields"])) == (422, [field])


def test_an_app_is_found_by_name_and_id_and_changed_by_field(rivetr: Instance) -> None:
    made = rivetr.create_app("fields", URL)
    wanted: dict[str, Any] = {
        "branch": "main", "dockerfile": "Dockerfile", "domain": None, "domains": [], "port": 3000, "healthcheck": None,
        "environment": "production", "project_id": None, "strategy": "rolling", "replicas": 1, "auto_deploy": True,
    }  # fmt: skip
    assert {key: made[key] for key in wanted} == wanted
    assert made["created_at"].endswith("Z")
    assert "webhook_secret" not in made
    assert rivetr.get(f"/api/apps/{made['id']}") == rivetr.get("/api/apps/fields")
    changed = rivetr.call("PATCH", "/api/apps/fields", {"port": 8000, "domains": ["b.example.org", "c.example.org"]})
    assert changed.status == 200
    assert (changed.json["port"], changed.json["domain"]) == (8000, "b.example.org")
    assert changed.json["git_url"] == URL
    replaced = rivetr.call("PUT", "/api/apps/fields", {"name": "fields", "git_url": URL})
    assert (replaced.json["port"], replaced.json["domains"]) == (3000, [])
    assert rivetr.call("PUT", "/api/apps/fields", {"name": "fields"}).status == 422


def test_lists_are_paged_by_cursor(rivetr: Instance) -> None:
    for number in range(5):
        rivetr.create_app(f"page-{number}", URL)
    seen: list[str] = []
    query = "?limit=2"
    while True:
        page = rivetr.get(f"/api/apps{query}")
        assert len(page["items"]) <= 2
        seen += [app["name"] for app in page["items"]]
        if page["next"] is None:
            break
        query = f"?limit=2&cursor={page['next']}"
    assert seen == sorted(set(seen))
    assert {f"page-{number}" for number in range(5)} <= set(seen)
    for bad in ("?limit=0", "?limit=201", "?limit=x", "?cursor=nonsense", "?cursor=W10"):
        assert rivetr.call("GET", f"/api/apps{bad}").status == 422


def test_environment_variables_are_kept_and_secrets_never_given_back(rivetr: Instance) -> None:
    rivetr.create_app("vars", URL)
    path = "/api/apps/vars/env-vars"
    secret = rivetr.call("POST", path, {"key": "TOKEN", "value": "hush", "is_secret": True})
    assert (secret.status, secret.json["value"]) == (201, None)
    assert rivetr.call("POST", path, {"key": "TOKEN", "value": "again"}).status == 409
    plain = rivetr.call("PUT", f"{path}/MODE", {"value": "fast"})
    assert (plain.status, plain.json["value"]) == (200, "fast")
    assert rivetr.get(f"{path}/MODE")["value"] == "fast"
    for key, value in (("1X", ""), ("A=B", ""), ("X", "a\0b"), ("X", "\ud800"), ("X", None)):
        bad = {"key": key, "value": value}
        assert rivetr.call("POST", path, bad).status == 422
    assert rivetr.call("DELETE", f"{path}/MODE").status == 204
    assert rivetr.call("GET", f"{path}/MODE").status == 404
    assert rivetr.get(path)["items"] == [{"key": "TOKEN", "value": None, "is_secret": True}]


def test_a_policy_is_kept_published_and_adopted(rivetr: Instance) -> None:
    rivetr.create_app("ruled", URL)
    changed = rivetr.call("PATCH", "/api/apps/ruled", {"policy": {"paused": {"limit_seconds": 5}, "compress": True}})
    assert changed.status == 200
    wanted = {"paused": {"limit_seconds": 5}, "compress": True}
    assert rivetr.get("/api/apps/ruled")["policy"] == wanted
    with (
        closing(contract.open_routes(rivetr.data_dir / "routes.db", read_only=True)) as routes,
        closing(contract.open_state(rivetr.data_dir / "proxy.db", read_only=True)) as state,
    ):
        found = contract.read(routes)
        # No waiting: the proxy serves it when the answer comes.
        assert [worker.adopted for worker in contract.workers(state)] == [found.generation]
    (route,) = (route for route in found.routes if route.host == "ruled.localhost")
    assert route.policy == {**wanted, "app": "ruled", "unavailable": "starting"}
    assert rivetr.call("PATCH", "/api/apps/ruled", {"policy": {"compress": 1}}).status == 422
    assert rivetr.call("PATCH", "/api/apps/ruled", {"policy": {"paused": None}}).json["policy"] == {"compress": True}


def test_metrics_need_a_token_that_may_read(rivetr: Instance) -> None:
    answer = rivetr.call("GET", "/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'rivetr_apps{state="running"}' in answer.text
    refused = rivetr.call("GET", "/metrics", token=None)
    assert (refused.status, refused.json["error"]["code"]) == (401, "unauthenticated")


def test_a_route_made_by_hand_is_served_at_once_and_goes_when_removed(rivetr: Instance) -> None:
    body = {"domain": "manual.example.com", "backends": [f"127.0.0.1:{rivetr.api_port}"]}
    begun = time.monotonic()
    assert rivetr.call("POST", "/api/routes", body).status == 201
    assert rivetr.visit("manual.example.com", "/health").status == 200
    assert time.monotonic() - begun < 2
    listed = {route["domain"]: route for route in rivetr.get("/api/routes")["items"]}
    assert listed["manual.example.com"]["backends"] == body["backends"]
    assert rivetr.call("POST", "/api/routes", body).status == 409
    health = {item["domain"]: item for item in rivetr.get("/api/routes/health")["items"]}
    assert health["manual.example.com"]["backends"][0]["address"] == body["backends"][0]
    assert rivetr.call("DELETE", "/api/routes/manual.example.com").status == 204
    assert rivetr.visit("manual.example.com").status == 404
    assert rivetr.call("DELETE", "/api/routes/manual.example.com").status == 404


def test_a_route_that_an_app_owns_is_not_removed_by_hand(rivetr: Instance) -> None:
    rivetr.create_app("owning", URL)
    assert rivetr.call("DELETE", "/api/routes/owning.localhost").status == 409
    taken = rivetr.call("POST", "/api/routes", {"domain": "owning.localhost", "backends": ["127.0.0.1:1"]})
    assert taken.status == 409


@pytest.mark.parametrize("backend", ["nowhere", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "-x:1", ""])
def test_a_backend_that_is_no_address_is_refused(rivetr: Instance, backend: str) -> None:
    answer = rivetr.call("POST", "/api/routes", {"domain": "bad.example.com", "backends": [backend]})
    assert answer.status == 422


def test_a_backend_that_is_not_there_is_a_502_page(rivetr: Instance) -> None:
    body = {"domain": "empty.example.com", "backends": [f"127.0.0.1:{free_port()}"]}
    rivetr.call("POST", "/api/routes", body)
    assert rivetr.visit("empty.example.com").status == 502


def test_system_names_versions_disk_queue_and_every_process(rivetr: Instance) -> None:
    found = rivetr.get("/api/system")
    assert found["runtime"]["type"] == "docker"
    assert found["disk"]["free_bytes"] > 0
    assert found["database"]["integrity"] == "ok"
    assert [process["name"] for process in found["processes"]] == ["up", "web", "worker", "proxy"]
    assert all(process["memory_bytes"] > 0 for process in found["processes"])


def test_the_openapi_document_describes_every_path_of_the_contract(rivetr: Instance) -> None:
    document = rivetr.call("GET", "/api/openapi.json", token=None).json
    assert document["openapi"].startswith("3.1")
    for path in (
        "/api/apps", "/api/apps/{app}", "/api/apps/{app}/status", "/api/apps/{app}/deploy", "/api/apps/{app}/stats",
        "/api/apps/{app}/env-vars", "/api/apps/{app}/env-vars/{key}", "/api/apps/{app}/logs/stream",
        "/api/deployments/{id}", "/api/deployments/{id}/logs", "/api/deployments/{id}/cancel", "/api/routes",
        "/api/routes/health", "/api/tokens", "/api/system", "/health",
    ):  # fmt: skip
        assert path in document["paths"], path
    create = document["paths"]["/api/apps"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert sorted(create["required"]) == ["git_url", "name"]
    assert create["properties"]["port"]["maximum"] == 65535
    assert rivetr.call("GET", "/api/docs", token=None).status == 200


def test_a_deployment_is_followed_over_a_websocket_to_its_end(rivetr: Instance, repository: Make) -> None:
    rivetr.create_app("socket", repository("socket").file_url)
    id = rivetr.call("POST", "/api/apps/socket/deploy").json["id"]
    header = [f"Authorization: Bearer {ADMIN_TOKEN}"]
    url = f"ws://127.0.0.1:{rivetr.api_port}/api/deployments/{id}/logs/stream"
    connection = websocket.create_connection(url, header=header, timeout=30)
    messages: list[dict[str, Any]] = []
    while not messages or "status" not in messages[-1]:
        messages.append(json.loads(connection.recv()))
    assert messages[-1] == {"status": "running"}
    assert any("Step 1/" in message.get("line", "") for message in messages)
    ids = [message["id"] for message in messages[:-1]]
    assert ids == sorted(set(ids))
    assert connection.recv() == ""
    connection.shutdown()  # type: ignore[no-untyped-call]


def test_a_websocket_without_credentials_or_from_another_site_is_closed(rivetr: Instance) -> None:
    url = f"ws://127.0.0.1:{rivetr.api_port}/api/deployments/none/logs/stream"
    for header in ([], ["Origin: https://evil.example"]):
        connection = websocket.create_connection(url, header=header, timeout=10, suppress_origin=bool(header))
        opcode, data = connection.recv_data()
        connection.shutdown()  # type: ignore[no-untyped-call]
        assert (opcode, int.from_bytes(data[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1008)


def test_an_app_s_output_is_streamed_and_readers_that_vanish_are_let_go(rivetr: Instance, repository: Make) -> None:
    dockerfile = 'FROM busybox:latest\nCMD ["sh", "-c", "echo out; echo err >&2; exec httpd -f -p 3000"]\n'
    rivetr.create_app("output", repository("output", {"Dockerfile": dockerfile}).file_url)
    rivetr.deploy("output")
    assert set(rivetr.call("GET", "/api/apps/output/logs").text.split()) == {"out", "err"}
    request = (
        f"GET /api/apps/output/logs/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
    ).encode()
    readers = [socket.create_connection(("127.0.0.1", rivetr.api_port), 10) for _ in range(5)]
    for reader in readers:
        reader.sendall(request)
        seen = b""
        while b'"line": "err"' not in seen or b'"line": "out"' not in seen:
            seen += reader.recv(4096)
        assert b'"stream": "stderr"' in seen
    assert _engine_streams(rivetr) >= 5
    for reader in readers:
        reader.close()
    wait_for(lambda: _engine_streams(rivetr) == 0, 20, "the engine's streams to be closed")


def _engine_streams(instance: Instance) -> int:
    """How many log streams the web process holds open to the engine."""
    web = instance.get("/api/system")["processes"][1]["pid"]
    sockets = {str(link.readlink()) for link in Path(f"/proc/{web}/fd").iterdir() if link.is_symlink()}
    unix = Path(f"/proc/{web}/net/unix").read_text().splitlines()
    # An unnamed stream socket whose peer is the engine's; the worker and proxy are spoken to by datagrams.
    connected = {
        f"socket:[{fields[6]}]" for fields in map(str.split, unix[1:]) if fields[4] == "0001" and fields[5] == "03"
    }
    return len(sockets & connected)


def test_stats_of_a_running_app(rivetr: Instance, repository: Make) -> None:
    rivetr.create_app("stats", repository("stats").file_url, memory_limit="64m")
    assert rivetr.get("/api/apps/stats/stats")["containers"] == []
    rivetr.deploy("stats")
    found = rivetr.get("/api/apps/stats/stats")
    assert 0 < found["memory_bytes"] < found["memory_limit_bytes"] == 64 << 20
    assert len(found["containers"]) == 1


def test_unknown_paths_and_methods_are_json_errors(rivetr: Instance) -> None:
    assert rivetr.call("GET", "/api/nothing").json["error"]["code"] == "not_found"
    assert rivetr.call("PATCH", "/api/apps").status == 405
    big = rivetr.call("POST", "/api/apps", {"name": "x" * 3_000_000, "git_url": URL})
    assert big.status == 413
