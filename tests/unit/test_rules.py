"""The form of the common traffic rules, and the policy it stands for."""

from typing import Any

import pytest

from rivetr.errors import Invalid
from rivetr.services import policies
from rivetr.specs.app import AppSpec
from rivetr.specs.parsing import parse
from rivetr.specs.quantities import byte_count, shortest
from rivetr.web import rules

EMPTY = {"auth_user": "", "auth_password": "", "allow": "", "rate_requests": "", "rate_seconds": "", "max_body": ""}


def after(form: dict[str, str], policy: dict[str, Any]) -> dict[str, Any]:
    """The policy that saving the form leaves."""
    changes = parse(AppSpec(), {"policy": rules.changes({**EMPTY, **form}, policy)}, partial=True)
    return policies.merged(policy, changes["policy"])


def test_an_empty_form_takes_away_what_it_can_say_and_nothing_else() -> None:
    policy = {
        "paused": {"limit_seconds": 30}, "maintenance": {"message": "x"}, "https_only": True, "compress": True,
        "allow": ["10.0.0.0/8"], "rate_limit": {"requests": 1, "seconds": 1}, "max_body_bytes": 5,
        "basic_auth": {"realm": "A", "users": {"ann": "scrypt$…"}}, "sticky": "b", "health": {"path": "/"},
    }  # fmt: skip
    assert after({}, policy) == {"sticky": "b", "health": {"path": "/"}}


def test_saving_what_is_shown_changes_nothing() -> None:
    policy = {
        "paused": {"limit_seconds": 99}, "maintenance": {"html": "<h1>Own</h1>"}, "https_only": True,
        "allow": ["10.0.0.0/8", "::1/128"], "rate_limit": {"requests": 7, "seconds": 9}, "max_body_bytes": 0,
        "basic_auth": {"realm": "A", "users": {"ann": "scrypt$…"}},
    }  # fmt: skip
    shown = rules.shown(policy)
    form = {name: "on" if value is True else str(value) for name, value in shown.items() if value is not False}
    assert after(form, policy) == policy
    several = {"basic_auth": {"realm": "A", "users": {"ann": "scrypt$…", "bob": "scrypt$…"}}}
    # With several users the form has no boxes for them.
    assert rules.changes({}, several).get("basic_auth", several) == several


def test_defaults_where_the_form_says_little() -> None:
    assert after({"paused": "on", "maintenance": "on", "rate_requests": "5", "allow": "10.0.0.1 ::1"}, {}) == {
        "paused": {"limit_seconds": 30},
        "maintenance": {"message": rules.DEFAULT_MESSAGE},
        "rate_limit": {"requests": 5, "seconds": 60},
        "allow": ["10.0.0.1/32", "::1/128"],
    }


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"auth_password": "x"}, "auth_user"),
        ({"auth_user": "ann"}, "auth_password"),
        ({"auth_user": "a:b", "auth_password": "x"}, "auth_user"),
        ({"allow": "home"}, "allow"),
        ({"rate_requests": "many"}, "rate_requests"),
        ({"rate_requests": "0"}, "rate_requests"),
        ({"rate_seconds": "60"}, "rate_requests"),
        ({"rate_requests": "1", "rate_seconds": "0"}, "rate_seconds"),
        ({"max_body": "big"}, "max_body"),
        ({"maintenance": "on", "maintenance_message": "x" * 1001}, "maintenance_message"),
    ],
)
def test_a_mistake_stands_beside_its_field(form: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        after(form, {})
    assert list(rules.placed(caught.value.fields)) == [field]


@pytest.mark.parametrize(("text", "count"), [("0", 0), ("1", 1), ("1500", 1500), ("10m", 10 * 2**20), ("1g", 2**30)])
def test_amounts_are_read_as_they_are_written(text: str, count: int) -> None:
    assert byte_count(text) == count
    assert shortest(count) == text
