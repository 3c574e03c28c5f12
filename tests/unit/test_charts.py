"""Where the marks of the traffic charts stand."""

import pytest

from rivetr.web import charts


@pytest.mark.parametrize(
    ("values", "wanted"),
    [([], 1), ([0], 1), ([1], 1), ([3], 4), ([7, 2], 8), ([10], 10), ([11], 20), ([560], 600), ([999_999], 1_000_000)],
)
def test_the_scale_ends_at_a_round_number(values: list[int], wanted: int) -> None:
    assert charts.peak(values) == wanted


def test_bars_share_a_scale_and_nothing_that_happened_is_invisible() -> None:
    assert charts.bars([(0, 0), (1000, 1), (500, 250)]) == [
        charts.Bar(0, 0),
        charts.Bar(100, 2),
        charts.Bar(50, 25),
    ]


def test_lines_are_logarithmic_with_gaps_and_lone_points() -> None:
    found = charts.lines([[0.01, 0.1, None, 1.0], [None, None, None, None]])
    assert found.ticks == ((100, 0.01), (50, 0.1), (0, 1))
    assert found.paths == ("M0.5 100.0h0L1.5 50.0M3.5 0.0h0", "")


def test_an_axis_has_two_ends_even_for_one_value_or_none() -> None:
    assert charts.lines([[0.1]]).ticks == ((100, 0.1), (0, 1))
    assert charts.lines([[None]]).ticks == ((100, 0.001), (66.67, 0.01), (33.33, 0.1), (0, 1))
