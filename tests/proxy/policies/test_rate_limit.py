"""Token buckets: burst, refill, who counts as one client, and how much is remembered."""

import pytest

from proxy.policies import gates, rate_limit
from proxy.policies.base import Answer
from proxy.policies.rate_limit import Limiter
from tests.proxy.policies.asking import Clock, asked, status


@pytest.mark.parametrize(("requests", "seconds"), [(100, 60), (1, 1), (7, 0.3), (3, 86400)])
def test_a_burst_of_all_requests_passes_and_no_more(requests: int, seconds: float) -> None:
    limiter = Limiter(requests, seconds, clock=Clock())
    assert not any(limiter.take(b"a") for _ in range(requests))
    assert limiter.take(b"a") == pytest.approx(seconds / requests, rel=0.02)
    assert limiter.take(b"b") == 0


def test_tokens_come_back_one_by_one() -> None:
    clock = Clock()
    limiter = Limiter(2, 10, clock=clock)
    limiter.take(b"a")
    limiter.take(b"a")
    clock.now += 4.9
    assert limiter.take(b"a") > 0
    clock.now += 0.1
    assert limiter.take(b"a") == 0
    assert limiter.take(b"a") > 0
    clock.now += 1000
    assert [limiter.take(b"a") > 0 for _ in range(3)] == [False, False, True]


def test_more_tokens_cost_more() -> None:
    limiter = Limiter(10, 1, clock=Clock())
    assert limiter.take(b"a", 8) == 0
    assert limiter.take(b"a", 4) == pytest.approx(0.2, abs=0.01)
    assert limiter.take(b"a", 2) == 0


def test_over_the_limit_is_429_with_the_time_to_wait() -> None:
    (gate,) = gates({"rate_limit": {"requests": 1, "seconds": 30}})
    assert gate(asked()) is None
    found = gate(asked())
    assert isinstance(found, Answer) and found.status == 429
    assert dict(found.fields) == {b"Retry-After": b"30"}


@pytest.mark.parametrize(
    ("first", "second", "are_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("", "not an address\0", True),
    ],
)
def test_who_counts_as_one_client(first: str, second: str, are_one: bool) -> None:
    (gate,) = gates({"rate_limit": {"requests": 1, "seconds": 30}})
    assert gate(asked(peer=first)) is None
    assert (gate(asked(peer=second)) is not None) == are_one


def test_a_flood_of_clients_is_bounded_and_forgets_the_fullest_first() -> None:
    clock = Clock()
    limiter = Limiter(2, 1000, most=100, clock=clock)
    limiter.take(b"heavy")
    limiter.take(b"heavy")
    for number in range(1000):
        clock.now += 0.001
        limiter.take(b"%d" % number)
        assert len(limiter) <= 100
    assert limiter.take(b"heavy") > 0


def test_buckets_that_are_full_again_go_first() -> None:
    clock = Clock()
    limiter = Limiter(1, 1, most=100, clock=clock)
    for number in range(100):
        limiter.take(b"%d" % number)
    clock.now += 2
    limiter.take(b"new")
    assert len(limiter) == 1


def test_a_table_that_is_read_anew_fills_no_bucket() -> None:
    policy: dict[str, object] = {"app": "counted", "rate_limit": {"requests": 1, "seconds": 60}}
    old = gates(policy)
    assert status(policy, asked()) == 200
    assert status(policy, asked()) == 429
    assert status(policy | {"app": "other"}, asked()) == 200
    del old
    assert "counted" not in {app for app, _, _ in rate_limit._limiters}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"requests": 10},
        {"requests": 0, "seconds": 1},
        {"requests": True, "seconds": 1},
        {"requests": 1.5, "seconds": 1},
        {"requests": 10**400, "seconds": 1},
        {"requests": 1, "seconds": 0},
        {"requests": 1, "seconds": -1},
        {"requests": 1, "seconds": float("nan")},
        {"requests": 1, "seconds": float("inf")},
        {"requests": 1, "seconds": "60"},
    ],
)
def test_limits_that_are_none_let_nobody_in(value: object) -> None:
    assert status({"rate_limit": value}, asked()) == 503
