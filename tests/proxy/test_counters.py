"""What the proxy counts: written by several processes, read as one."""

import math
import sqlite3
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy import contract
from proxy.contract import LATENCY_BOUNDS, Minute, ProcessState, Traffic

NOW = int(time.time()) // 60


@pytest.fixture
def state(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(contract.open_state(tmp_path / "proxy.db")) as connection:
        yield connection


def buckets(*seconds: float) -> tuple[int, ...]:
    counts = [0] * len(LATENCY_BOUNDS)
    for each in seconds:
        counts[bisect_left(LATENCY_BOUNDS, each)] += 1
    return tuple(counts)


def some(host: str = "a.test", times: int = 1) -> Traffic:
    latencies = tuple(times * count for count in buckets(0.003, 0.7))
    return Traffic(host, "/", 2 * times, (0, times, 0, 0, times), 10 * times, 200 * times, 0.75 * times, latencies)


def test_traffic_is_summed_over_processes(state: sqlite3.Connection) -> None:
    contract.report_traffic(state, 1, [some(), some("b.test")])
    contract.report_traffic(state, 2, [some(times=3)])
    assert contract.traffic(state) == [some(times=4), some("b.test")]


def test_a_report_replaces_only_the_routes_it_names(state: sqlite3.Connection) -> None:
    contract.report_traffic(state, 1, [some(), some("b.test")])
    contract.report_traffic(state, 1, [some(times=2)])
    assert contract.traffic(state) == [some(times=2), some("b.test")]


def test_totals_do_not_shrink_when_processes_end(state: sqlite3.Connection) -> None:
    for pid in (1, 2, 3):
        contract.report_traffic(state, pid, [some()])
        contract.report_process(state, ProcessState(pid, 5, 1, 9, 1.5))
    contract.forget(state, 1)
    contract.forget(state, 2)
    contract.report_traffic(state, 1, [some()])
    assert contract.traffic(state) == [some(times=4)]
    assert contract.processes(state) == [ProcessState(3, 5, 1, 9, 1.5)]


def test_minutes_add_up(state: sqlite3.Connection) -> None:
    contract.add_minutes(state, [Minute(NOW, "a.test", "/", 2, 1, 100, buckets(0.003, 0.7))])
    contract.add_minutes(
        state,
        [
            Minute(NOW, "a.test", "/", 1, 0, 50, buckets(0.003)),
            Minute(NOW - 1, "a.test", "/", 7, 0, 1),
            Minute(NOW, "a.test", "/api", 5, 5, 5),
        ],
    )
    assert contract.minutes(state, NOW - 60) == [
        Minute(NOW - 1, "a.test", "/", 7, 0, 1),
        Minute(NOW, "a.test", "/", 3, 1, 150, buckets(0.003, 0.003, 0.7)),
        Minute(NOW, "a.test", "/api", 5, 5, 5),
    ]
    assert [each.minute for each in contract.minutes(state, NOW)] == [NOW, NOW]
    assert contract.minutes(state, NOW, ["b.test"]) == []
    assert len(contract.minutes(state, NOW - 1, ["b.test", "a.test"])) == 3


def test_minutes_older_than_a_day_go(state: sqlite3.Connection) -> None:
    contract.add_minutes(
        state, [Minute(NOW - 1442, "a.test", "/", 1, 0, 0), Minute(NOW - 1430, "a.test", "/", 1, 0, 0)]
    )
    assert [each.minute for each in contract.minutes(state, 0)] == [NOW - 1430]


def test_a_write_that_fails_leaves_no_transaction_open(state: sqlite3.Connection) -> None:
    bad = Minute(NOW, "a.test", "/", "many", 0, 0, None)  # type: ignore[arg-type]
    contract.add_minutes(state, [Minute(NOW, "a.test", "/", 1, 0, 0)])
    with pytest.raises(TypeError):
        contract.add_minutes(state, [bad])
    assert not state.in_transaction
    assert contract.minutes(state, NOW) == [Minute(NOW, "a.test", "/", 1, 0, 0)]


@pytest.mark.parametrize(
    ("seconds", "q", "wanted"),
    [
        ((), 0.5, None),
        # One request between 0.25 and 0.5: the share of the bucket is all that is known.
        ((0.3,), 0.5, 0.375),
        ((0.3,), 1.0, 0.5),
        ((0.3,), 0.0, 0.25),
        ((0.0005, 0.0005), 0.5, 0.0005),
        ((0.003,) * 99 + (4.0,), 0.99, 0.005),
        ((0.003,) * 99 + (4.0,), 0.995, 3.75),
        ((120.0,), 0.5, 60.0),
        # A bound belongs to the bucket below it.
        ((0.1,) * 4, 0.5, 0.075),
    ],
)
def test_a_quantile_is_linear_inside_its_bucket(seconds: tuple[float, ...], q: float, wanted: float | None) -> None:
    found = contract.quantile(buckets(*seconds), q)
    assert found == (None if wanted is None else pytest.approx(wanted))


def test_the_bounds_grow_and_end_in_infinity() -> None:
    assert list(LATENCY_BOUNDS) == sorted(set(LATENCY_BOUNDS))
    assert math.isinf(LATENCY_BOUNDS[-1])
