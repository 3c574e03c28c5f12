"""Fields that the owner sets and removes."""

import pytest

from proxy.policies.headers import rewriter


def test_fields_are_set_once_and_removed_in_any_spelling() -> None:
    rewrite = rewriter({"response_headers": {"set": {"X-Frame-Options": " DENY "}, "remove": ["SERVER"]}})
    assert rewrite is not None
    fields = [(b"server", b"x"), (b"x-frame-options", b"a"), (b"X-FRAME-OPTIONS", b"b"), (b"Set-Cookie", b"a=b")]
    assert rewrite(fields) == [(b"Set-Cookie", b"a=b"), (b"X-Frame-Options", b"DENY")]


@pytest.mark.parametrize("policy", [{}, {"response_headers": {}}, {"response_headers": {"set": {}, "remove": []}}])
def test_nothing_to_do_is_none(policy: dict[str, object]) -> None:
    assert rewriter(policy) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"set": []},
        {"remove": "Server"},
        {"remove": [1]},
        {"set": {"X": 1}},
        {"set": {"X": "a\r\nSet-Cookie: b=c"}},
        {"set": {"X": "a\0"}},
        {"set": {"X": "\ud800"}},
        {"set": {"X": "a" * 9000}},
        {"set": {"X:": "a"}},
        {"set": {"X\n": "a"}},
        {"set": {"": "a"}},
        {"set": {"Content-Length": "0"}},
        {"set": {"transfer-encoding": "chunked"}},
        {"remove": ["Content-Encoding"]},
    ],
)
def test_a_bad_value_is_left_out(value: object) -> None:
    assert rewriter({"response_headers": value}) is None
