"""Where redirects lead, and where no request can make them lead."""

import pytest

from proxy.policies.base import Asked
from tests.proxy.policies.asking import answer, asked, status


def _location(policy: dict[str, object], request: Asked) -> str | None:
    found = answer(policy, request)
    return dict(found.fields)[b"Location"].decode("ascii") if found else None


def _rule(source: str, to: str, keep_path: bool = False, status: int = 301) -> dict[str, object]:
    return {"redirects": [{"from": source, "to": to, "status": status, "keep_path": keep_path}]}


@pytest.mark.parametrize(
    ("host", "target", "location"),
    [
        (b"app.test", b"/a?b=c", "https://app.test/a?b=c"),
        (b"app.test:8080", b"/", "https://app.test/"),
        (b"[::1]", b"/", "https://[::1]/"),
        (b"app.test", b"//evil.test/", "https://app.test//evil.test/"),
        (b"app.test", b"@evil.test/", "https://app.test/"),
        (b"app.test", b"*", "https://app.test/"),
        (b"app.test", b"/a\r\nSet-Cookie: x=y", "https://app.test/a%0D%0ASet-Cookie:%20x=y"),
        (b"app.test", b"/\\evil\xff#x", "https://app.test/%5Cevil%FF%23x"),
    ],
)
def test_plain_requests_go_to_https_on_their_own_host(host: bytes, target: bytes, location: str) -> None:
    request = asked(target, host)
    assert _location({"https_only": True}, request) == location
    assert status({"https_only": True}, request) == 308


def test_requests_over_tls_pass_https_only() -> None:
    assert status({"https_only": True}, asked(is_tls=True)) == 200


@pytest.mark.parametrize("host", [b"", b"a b", b"a\r\nb", b"user@evil"])
def test_https_only_cannot_be_passed_by_naming_no_host(host: bytes) -> None:
    assert status({"https_only": True}, asked(host=host)) == 400


@pytest.mark.parametrize(
    ("host", "is_tls", "location"),
    [
        (b"www.app.test", False, "http://app.test/a?b"),
        (b"www.app.test", True, "https://app.test/a?b"),
        (b"www.app.test:8443", True, "https://app.test:8443/a?b"),
        (b"www.app.test:443", True, "https://app.test/a?b"),
        (b"app.test", False, None),
        (b"app.test:8080", False, None),
    ],
)
def test_other_hosts_go_to_the_canonical_one(host: bytes, is_tls: bool, location: str | None) -> None:
    assert _location({"canonical_host": "App.test"}, asked(b"/a?b", host, is_tls=is_tls)) == location


@pytest.mark.parametrize("value", ["", "a/b", "a@b", "a:80", "a\r\nb", "é.test", "https://a", "a" * 254])
def test_a_canonical_host_that_is_no_host_is_left_out(value: str) -> None:
    assert status({"canonical_host": value}, asked()) == 200


def test_https_comes_before_the_canonical_host() -> None:
    policy: dict[str, object] = {"https_only": True, "canonical_host": "app.test"}
    assert _location(policy, asked(host=b"www.app.test")) == "https://www.app.test/"
    assert _location(policy, asked(host=b"www.app.test", is_tls=True)) == "https://app.test/"


@pytest.mark.parametrize(
    ("source", "target", "matches"),
    [
        ("/old", b"/old", True),
        ("/old", b"/old/x?y", True),
        ("/old/", b"/old", True),
        ("/old", b"/older", False),
        ("/old", b"/a/old", False),
        ("/", b"/x", True),
        ("/", b"*", False),
        ("/ü", b"/%C3%BC/x", True),
    ],
)
def test_a_redirect_holds_whole_segments(source: str, target: bytes, matches: bool) -> None:
    assert status(_rule(source, "https://x.test/new"), asked(target)) == (301 if matches else 200)


@pytest.mark.parametrize(
    ("source", "to", "target", "location"),
    [
        ("/old", "https://x.test/new", b"/old/a/b?c=d", "https://x.test/new/a/b?c=d"),
        ("/old", "https://x.test", b"/old", "https://x.test/"),
        ("/old", "https://x.test", b"/old/a", "https://x.test/a"),
        ("/", "https://x.test/new/", b"/a", "https://x.test/new/a"),
        ("/old", "/new?a=b#c", b"/old/x?d=e", "/new/x?a=b&d=e#c"),
        ("/old", "/", b"/old/x", "/x"),
        ("/", "https://x.test", b"//evil.test", "https://x.test//evil.test"),
        ("/old", "/", b"/old//evil.test", "/evil.test"),
        ("/old", "/", b"/old/\\evil.test", "/%5Cevil.test"),
        ("/old", "https://x.test", b"/old/@evil.test", "https://x.test/@evil.test"),
        ("/old", "https://x.test/me", b"/old/../you", "https://x.test/me"),
        ("/old", "https://x.test/me", b"/old/a/%2E./%2e%2e/you", "https://x.test/me"),
        ("/old", "https://x.test/me", b"/old/..%2fyou", "https://x.test/me"),
        ("/old", "https://x.test/me", b"/old/\\..\\you", "https://x.test/me"),
        ("/old", "https://x.test/me", b"/old/..a/b..", "https://x.test/me/..a/b.."),
        ("/old", "/new", b"/old/x\r\ny?z\r\nw", "/new/x%0D%0Ay?z%0D%0Aw"),
    ],
)
def test_the_rest_of_the_path_is_kept_below_the_owners_address(
    source: str, to: str, target: bytes, location: str
) -> None:
    assert _location(_rule(source, to, keep_path=True), asked(target)) == location


def test_without_keep_path_nothing_of_the_request_gets_into_the_address() -> None:
    assert _location(_rule("/old", "https://x.test/new?a=b"), asked(b"/old/x?y")) == "https://x.test/new?a=b"


@pytest.mark.parametrize("keep_path", [False, True])
def test_a_redirect_into_its_own_paths_ends(keep_path: bool) -> None:
    inside = _rule("/", "/new", keep_path)
    assert [status(inside, asked(target)) for target in (b"/a", b"/new", b"/new/a")] == [301, 200, 200]
    moved = _rule("/", "https://App.test:443/", keep_path)
    assert status(moved, asked()) == status(moved, asked(is_tls=True, host=b"b.test")) == 301
    assert status(moved, asked(is_tls=True)) == 200


def test_the_first_redirect_that_holds_the_path_counts() -> None:
    rows = [{"from": "/a/b", "to": "/1"}, {"from": "/a", "to": "/2", "status": 302}, {"from": "/", "to": "/3"}]
    assert [_location({"redirects": rows}, asked(t)) for t in (b"/a/b/c", b"/a/c", b"/c")] == ["/1", "/2", "/3"]
    assert [status({"redirects": rows}, asked(t)) for t in (b"/a/b/c", b"/a/c", b"/c")] == [307, 302, 307]


@pytest.mark.parametrize(
    "to",
    [
        "",
        "new",
        "//evil.test",
        "/\\evil.test",
        "https://",
        "https:///x",
        "https://a@b/",
        "javascript:alert(1)",
        "ftp://x.test",
        "https://x.test/a b",
        "/a\r\nb",
        "/é",
        "?a",
        "/" + "a" * 3000,
        None,
        7,
    ],
)
def test_a_redirect_to_what_is_no_address_is_left_out(to: object) -> None:
    assert status({"redirects": [{"from": "/", "to": to}]}, asked()) == 200


@pytest.mark.parametrize(
    "row",
    [{"status": 200}, {"status": "301"}, {"status": 301.5}, {"keep_path": 1}, {"from": "old"}, {"from": "https://a/"}],
)
def test_a_redirect_with_another_bad_part_is_left_out(row: dict[str, object]) -> None:
    assert status({"redirects": [{"from": "/", "to": "/new"} | row]}, asked()) == 200


def test_a_bad_key_does_not_switch_off_its_neighbours() -> None:
    assert status({"redirects": [7], "https_only": True}, asked()) == 308
