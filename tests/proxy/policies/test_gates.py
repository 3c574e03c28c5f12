"""Which policies a request meets, in which order, and what a bad value does."""

import logging

import pytest

from proxy.policies import gates
from proxy.policies.base import complain
from tests.proxy.policies.asking import answer, asked, status


def test_a_route_without_policies_has_no_gates() -> None:
    assert gates({"app": "a", "compress": True, "sticky": "x", "https_only": False, "redirects": []}) == ()


def test_gates_come_in_the_order_of_the_contract() -> None:
    policy: dict[str, object] = {
        "maintenance": {"message": "Back soon."},
        "basic_auth": {"realm": "x", "users": {"a": "scrypt$4096$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "="}},
        "rate_limit": {"requests": 1, "seconds": 60},
        "https_only": True,
        "allow": ["10.0.0.0/8"],
    }
    statuses = [403, 308, 401, 429]
    requests = [asked(), asked(peer="10.1.1.1"), *[asked(peer="10.1.1.1", is_tls=True)] * 2]
    made = gates(policy)
    assert [next(a.status for g in made if (a := g(request))) for request in requests] == statuses
    del policy["basic_auth"], policy["rate_limit"]
    assert status(policy, asked(peer="10.1.1.1", is_tls=True)) == 503


@pytest.mark.parametrize("key", ["allow", "rate_limit", "basic_auth", "maintenance"])
@pytest.mark.parametrize("value", [None, 1, "x", True, [1], {"users": {}, "message": 1}, [["10.0.0.0/8"]]])
def test_a_bad_value_of_a_protecting_policy_lets_nobody_in(key: str, value: object) -> None:
    found = answer({key: value}, asked())
    assert found is not None
    assert found.status == 503 and key in found.owner


@pytest.mark.parametrize("key", ["https_only", "canonical_host", "redirects"])
@pytest.mark.parametrize("value", [None, 1, "x y", {"a": 1}, [1], "\ud800"])
def test_a_bad_value_of_another_policy_is_left_out(key: str, value: object) -> None:
    assert status({key: value}, asked()) == 200


def test_a_policy_that_is_no_object_lets_nobody_in() -> None:
    (gate,) = gates([])  # type: ignore[arg-type]
    found = gate(asked())
    assert found is not None and found.status == 503


def test_a_bad_value_is_logged_once_and_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    policy = {"app": "shop\nforged", "basic_auth": {"users": {"a": "s3cret"}}}
    with caplog.at_level(logging.ERROR, "proxy"):
        gates(policy)
        gates(policy)
    (message,) = caplog.messages
    assert "basic_auth of app 'shop\\nforged'" in message
    assert "s3cret" not in message


def test_memory_for_complaints_is_bounded() -> None:
    from proxy.policies import base

    for number in range(3000):
        complain("flood", "allow", str(number))
    assert len(base._complaints) <= 1024
