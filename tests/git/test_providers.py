"""What each Git server's webhook says: signature, event, delivery, pushes."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rivetr.crypto import sign
from rivetr.errors import Unreadable
from rivetr.git.providers import PROVIDERS
from rivetr.specs.git import repository_key

PAYLOADS = Path(__file__).parent / "payloads"
NAMES = sorted(PROVIDERS)
WITH_REF = ["gitea", "github", "gitlab"]
SECRET = "schlüssel of acme"
COMMIT, OTHER_COMMIT = "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d", "b58c2e1f0d9a4c6e8f7a1b2c3d4e5f60718293a4"
HOSTS = {"github": "github.com", "gitlab": "gitlab.com", "gitea": "gitea.example.com", "bitbucket": "bitbucket.org"}
# Values that no place of a payload expects.
HOSTILE: list[Any] = [None, True, 7, -1.5, "", "x", "\ud800", [], [None], ["x", {}], {}, {"a": {}}]


def payload_of(name: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((PAYLOADS / f"{name}.json").read_text("utf-8"))
    return payload


def signed(name: str, body: bytes, secret: str) -> dict[str, str]:
    digest = sign(secret, body)
    return {
        "github": {"x-hub-signature-256": f"sha256={digest}"},
        "gitea": {"x-gitea-signature": digest},
        "gitlab": {"x-gitlab-token": secret},
        "bitbucket": {"x-hub-signature": f"sha256={digest}"},
    }[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_push_says_repository_branch_and_commit(name: str) -> None:
    push = PROVIDERS[name].pushes(payload_of(name))[0]
    assert (push.branch, push.commit) == ("main", COMMIT)
    keys = {repository_key(url) for url in push.urls}
    assert repository_key(f"https://{HOSTS[name]}/Acme/Shop.git") in keys
    assert repository_key(f"git@{HOSTS[name]}:acme/shop.git") in keys
    assert repository_key(f"https://{HOSTS[name]}/acme/shop2.git") not in keys


def test_gitea_s_own_ssh_port_is_an_address_too() -> None:
    (push,) = PROVIDERS["gitea"].pushes(payload_of("gitea"))
    assert "gitea.example.com:2222/acme/shop" in {repository_key(url) for url in push.urls}


def test_one_push_to_bitbucket_may_change_several_branches() -> None:
    pushes = PROVIDERS["bitbucket"].pushes(payload_of("bitbucket"))
    assert [(push.branch, push.commit) for push in pushes] == [("main", COMMIT), ("feature/tea", OTHER_COMMIT)]


@pytest.mark.parametrize("name", WITH_REF)
@pytest.mark.parametrize(
    "changes",
    [{"ref": "refs/tags/v1.2"}, {"after": "0" * 40}, {"after": "0" * 64}, {"ref": "main"}, {"ref": "refs/pull/1/head"}],
    ids=str,
)
def test_tags_and_deletions_are_no_pushes(name: str, changes: Mapping[str, str]) -> None:
    assert PROVIDERS[name].pushes({**payload_of(name), **changes}) == []


def test_github_says_itself_what_is_a_deletion() -> None:
    assert PROVIDERS["github"].pushes({**payload_of("github"), "deleted": True}) == []


@pytest.mark.parametrize("name", WITH_REF)
@pytest.mark.parametrize(
    "commit",
    ["", "7fd1a60", "main", "--upload-pack=x", "G" * 40, "A" * 40, "1" * 41, "1" * 40 + "\n", None, 7, ["1" * 40]],
)
def test_what_is_no_whole_commit_id_is_unreadable(name: str, commit: object) -> None:
    with pytest.raises(Unreadable):
        PROVIDERS[name].pushes({**payload_of(name), "after": commit})


@pytest.mark.parametrize("name", WITH_REF)
def test_a_sha_256_commit_id_is_whole(name: str) -> None:
    (push,) = PROVIDERS[name].pushes({**payload_of(name), "after": "a" * 64})
    assert push.commit == "a" * 64


def places(payload: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value in a payload."""
    children = payload.items() if isinstance(payload, dict) else enumerate(payload) if isinstance(payload, list) else ()
    return [path, *(deeper for key, value in children for deeper in places(value, (*path, key)))]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_shape_anywhere_is_at_most_unreadable(name: str) -> None:
    tried = refused = 0
    for path in places(payload_of(name))[1:]:
        for value in HOSTILE:
            payload = copy.deepcopy(payload_of(name))
            inner: Any = payload
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            tried += 1
            try:
                for push in PROVIDERS[name].pushes(payload):
                    push.branch.encode()
                    assert push.commit in (COMMIT, OTHER_COMMIT)
            except Unreadable:
                refused += 1
    assert 0 < refused < tried


@pytest.mark.parametrize("name", NAMES)
def test_only_the_secret_and_the_very_body_make_the_signature(name: str) -> None:
    body = json.dumps(payload_of(name)).encode()
    provider, headers = PROVIDERS[name], signed(name, body, SECRET)
    assert provider.is_signed(headers, body, SECRET)
    assert not provider.is_signed(headers, body, SECRET + " ")
    assert not provider.is_signed({}, body, SECRET)
    if name != "gitlab":
        assert not provider.is_signed(headers, body + b" ", SECRET)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("others", NAMES)
def test_another_server_s_header_signs_nothing(name: str, others: str) -> None:
    assert PROVIDERS[name].is_signed(signed(others, b"{}", SECRET), b"{}", SECRET) == (name == others)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", ["", "\xff", "é", "\ufffd", "sha256=", "x" * 10_000, "00"])
def test_an_odd_header_does_not_fit(name: str, change: str) -> None:
    (header,) = signed(name, b"{}", SECRET)
    assert not PROVIDERS[name].is_signed({header: change}, b"{}", SECRET)


def test_github_s_older_header_signs_nothing() -> None:
    headers = {**signed("github", b"{}", "other"), "x-hub-signature": f"sha256={sign(SECRET, b'{}')}"}
    assert not PROVIDERS["github"].is_signed(headers, b"{}", SECRET)


def test_the_event_and_the_delivery_are_named_in_headers() -> None:
    named = {
        "github": ({"x-github-event": "push", "x-github-delivery": "1"}, "push"),
        "gitea": ({"x-gitea-event": "push", "x-gitea-delivery": "1"}, "push"),
        "gitlab": ({"x-gitlab-event": "Push Hook", "idempotency-key": "1", "x-gitlab-event-uuid": "2"}, "Push Hook"),
        "bitbucket": ({"x-event-key": "repo:push", "x-request-uuid": "1"}, "repo:push"),
    }
    for name, (headers, event) in named.items():
        assert (PROVIDERS[name].event(headers), PROVIDERS[name].delivery_id(headers)) == (event, "1")
        assert (PROVIDERS[name].event({}), PROVIDERS[name].delivery_id({})) == ("", "")
        assert PROVIDERS[name].push_event == event


def test_what_names_the_webhook_is_no_delivery() -> None:
    """These two are the same for every push; taken for the delivery's id, all but the first would be ignored."""
    assert PROVIDERS["gitlab"].delivery_id({"x-gitlab-webhook-uuid": "1", "x-gitlab-event-uuid": "2"}) == "2"
    assert PROVIDERS["bitbucket"].delivery_id({"x-hook-uuid": "1", "x-request-uuid": "2"}) == "2"
    assert PROVIDERS["bitbucket"].delivery_id({"x-hook-uuid": "1"}) == ""


def test_the_signature_is_that_of_github_s_documentation() -> None:
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": f"sha256={digest}"}
    assert PROVIDERS["github"].is_signed(headers, b"Hello, World!", "It's a Secret to Everybody")
    assert not PROVIDERS["github"].is_signed(headers, b"Hello, World!", "It's a secret to everybody")
