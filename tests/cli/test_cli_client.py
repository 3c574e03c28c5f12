"""The HTTP client: what it sends, and what it makes of answers that are not the hoped-for ones."""

import json
import ssl
from pathlib import Path

import pytest

from rivetr.cli.client import Client, Refused, Unreachable
from rivetr.errors import Invalid, Misconfigured
from rivetr.issuers.selfsigned import ensure_default
from tests.cli.conftest import Rivetr
from tests.cli.fake_instance import TOKEN, FakeInstance, Reply, events, items, refusal, serving
from tests.instance import free_port


@pytest.fixture
def client(instance: FakeInstance) -> Client:
    return Client(instance.url, TOKEN)


def test_a_list_is_read_over_all_its_pages(instance: FakeInstance, client: Client) -> None:
    instance.on("GET /api/apps?limit=200", items({"name": "a"}, next="c+/="))
    instance.on("GET /api/apps?limit=200&cursor=c%2B%2F%3D", items({"name": "b"}))
    assert [app["name"] for app in client.items("apps")] == ["a", "b"]
    assert {asked.token for asked in instance.asked} == {TOKEN}


def test_names_in_a_path_cannot_lead_elsewhere(instance: FakeInstance, client: Client) -> None:
    instance.on("GET /api/apps/..%2Ftokens%3Fx", Reply({"name": "odd"}))
    assert client.get("apps", "../tokens?x") == {"name": "odd"}
    for name in ("", ".", ".."):
        with pytest.raises(Invalid):
            client.get("apps", name)


def test_an_error_is_its_sentence_with_the_fields(instance: FakeInstance, client: Client) -> None:
    answer = refusal(409, "conflict", "There is an app 'a' already.", name="is taken")
    instance.on("POST /api/apps", answer)
    with pytest.raises(Refused) as caught:
        client.post("apps", body={"name": "a"})
    assert caught.value.message == "There is an app 'a' already.\n  name: is taken"
    assert (caught.value.answered, caught.value.permanent) == (409, True)


def test_fields_that_the_sentence_names_are_not_repeated(instance: FakeInstance, client: Client) -> None:
    instance.on("POST /api/apps", refusal(422, "invalid", "Mend: port: must be 1 to 65535.", port="must be 1 to 65535"))
    with pytest.raises(Refused) as caught:
        client.post("apps", body={"port": 0})
    assert caught.value.message == "Mend: port: must be 1 to 65535."


def test_what_a_server_says_does_not_reach_the_terminal_raw(instance: FakeInstance, client: Client) -> None:
    instance.on("GET /api/apps/a", refusal(404, "not_found", "gone \x1b]0;title\x07\x1b[31mred\x1b[2J"))
    with pytest.raises(Refused) as caught:
        client.get("apps", "a")
    assert "\x1b" not in caught.value.message and "\x07" not in caught.value.message


def test_401_says_where_a_token_comes_from(instance: FakeInstance, remote: Rivetr) -> None:
    instance.on("GET /api/routes?limit=200", refusal(401, "unauthenticated", "The token is not known."))
    done = remote("routes")
    assert done.returncode == 1
    assert "The token is not known." in done.stderr and "rivetr token create" in done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_503_is_worth_another_try_and_says_its_sentence(instance: FakeInstance, client: Client) -> None:
    instance.on("GET /api/routes?limit=200", refusal(503, "busy", "The database is busy."))
    with pytest.raises(Refused, match="The database is busy") as caught:
        client.items("routes")
    assert not caught.value.permanent


def test_redirects_are_not_followed_with_the_token(instance: FakeInstance, client: Client) -> None:
    with serving() as other:
        instance.on("GET /api/apps/a", Reply(status=302, headers={"Location": f"{other.url}/api/apps/a"}))
        with pytest.raises(Refused, match="redirects to") as caught:
            client.get("apps", "a")
        assert other.url in caught.value.message
        assert other.asked == []


@pytest.mark.parametrize("reply", [Reply(text="<html>hello</html>"), Reply([1, 2]), Reply(text="")])
def test_a_stranger_is_noticed(instance: FakeInstance, client: Client, reply: Reply) -> None:
    instance.on("GET /api/apps/a", reply)
    with pytest.raises(Unreachable, match="does not answer as Rivetr does"):
        client.get("apps", "a")


def test_a_list_without_items_is_a_stranger(instance: FakeInstance, client: Client) -> None:
    instance.on("GET /api/apps?limit=200", Reply({"apps": []}))
    with pytest.raises(Unreachable, match="does not answer as Rivetr does"):
        client.items("apps")


def test_an_error_page_of_another_server_is_told_apart(instance: FakeInstance, client: Client) -> None:
    instance.on("GET /health", Reply(status=503, text="<h1>Service Unavailable</h1>"))
    with pytest.raises(Refused, match="status 503 and no reason"):
        client.health()


def test_nobody_listening_is_a_sentence(remote: Rivetr) -> None:
    port = free_port()
    done = remote("apps", RIVETR_URL=f"http://127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (1, "")
    expected = f"rivetr: Nothing answers at http://127.0.0.1:{port}: start it ('rivetr up'), or set RIVETR_URL.\n"
    assert done.stderr == expected


def test_tls_is_verified(local: Rivetr, tmp_path: Path) -> None:
    chain, key = ensure_default(tmp_path / "certificates")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, key)
    with serving(tls) as instance:
        done = local("routes", RIVETR_URL=instance.url, RIVETR_TOKEN=TOKEN)
        assert instance.asked == []
    assert done.returncode == 1
    assert f"The certificate of {instance.url} is not trusted" in done.stderr


def test_a_missing_token_and_address_are_named(local: Rivetr, data_dir: Path) -> None:
    done = local("apps")
    assert done.returncode == 1
    assert "Set RIVETR_TOKEN" in done.stderr and "rivetr token create" in done.stderr
    done = local("apps", RIVETR_TOKEN=TOKEN)
    assert done.returncode == 1
    assert "Set RIVETR_URL" in done.stderr and str(data_dir / "address.json") in done.stderr


def test_the_address_of_this_machines_instance_is_found(local: Rivetr, data_dir: Path, instance: FakeInstance) -> None:
    data_dir.mkdir()
    (data_dir / "address.json").write_text(json.dumps({"url": instance.url}))
    instance.on("GET /api/routes?limit=200", items())
    done = local("routes", RIVETR_TOKEN=TOKEN)
    assert (done.returncode, done.stdout) == (0, "There are no routes.\n")


def test_a_token_with_odd_characters_is_refused_without_showing_it(local: Rivetr) -> None:
    done = local("apps", RIVETR_TOKEN="rvt_one\nrvt_two", RIVETR_URL="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "RIVETR_TOKEN" in done.stderr and "rvt_one" not in done.stderr


@pytest.mark.parametrize("url", ["ftp://host", "host:80", "http://", "http://u:p@host", "http://host/?q", "http://h:x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="RIVETR_URL"):
        Client(url, TOKEN)


def test_an_event_stream_that_breaks_raises_and_one_that_ends_does_not(instance: FakeInstance, client: Client) -> None:
    target = "GET /api/deployments/d/logs/stream"
    instance.on(target, events({"id": 1}, None), events({"id": 1}, breaks=True))
    assert list(client.events("deployments", "d", "logs", "stream")) == [{"id": 1}, None]
    broken = client.events("deployments", "d", "logs", "stream")
    assert next(broken) == {"id": 1}
    with pytest.raises(Unreachable, match="broke"):
        next(broken)
