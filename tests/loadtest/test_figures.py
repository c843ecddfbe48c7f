"""Percentiles, ratios and slopes against numbers worked out by hand."""

from __future__ import annotations

import pytest

from loadtest.figures import median_ratio, percentile, slope, slope_error


def test_a_percentile_lies_between_its_neighbours() -> None:
    assert percentile([40, 10, 20, 30], 50) == 25
    assert percentile([0, 100], 95) == pytest.approx(95)


def test_percentiles_0_and_100_are_the_smallest_and_the_largest() -> None:
    assert percentile([3, 1, 2], 0) == 1
    assert percentile([3, 1, 2], 100) == 3


def test_every_percentile_of_one_value_is_that_value() -> None:
    assert {percentile([7.5], percent) for percent in (0, 50, 95, 100)} == {7.5}


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_percentile_beyond_100_is_refused() -> None:
    with pytest.raises(ValueError, match="101"):
        percentile([1.0], 101)


def test_a_ratio_compares_each_round_with_its_own_neighbour() -> None:
    # The machine halves its speed after the first round: both drop, the ratio does not.
    assert median_ratio([100, 50, 50], [20, 10, 10]) == 5


def test_one_odd_round_does_not_move_the_ratio() -> None:
    assert median_ratio([10, 10, 1], [2, 2, 2]) == 5


def test_ratios_of_unequal_numbers_of_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="2 rounds of ours, 1 of theirs"):
        median_ratio([1, 2], [1])


def test_the_slope_of_a_line_is_its_rise() -> None:
    assert slope([0, 1000, 2000], [300, 302, 304]) == pytest.approx(0.002)


def test_the_slope_of_a_level_noise_is_small() -> None:
    assert slope([0, 1, 2, 3], [5, 6, 6, 5]) == pytest.approx(0)


def test_points_on_a_line_leave_no_doubt_about_its_slope() -> None:
    assert slope_error([0, 1, 2, 3], [5, 7, 9, 11]) == pytest.approx(0)


def test_scatter_shows_in_the_error_of_a_slope() -> None:
    # Residuals -0.5, 0.5, 0.5, -0.5: sum of squares 1, over 2 degrees of freedom, over Sxx = 5.
    assert slope_error([0, 1, 2, 3], [5, 6, 6, 5]) == pytest.approx((1 / 2 / 5) ** 0.5)


def test_the_error_of_a_slope_needs_three_points() -> None:
    with pytest.raises(ValueError, match="three points"):
        slope_error([0, 1], [1, 2])


def test_a_slope_needs_two_places() -> None:
    with pytest.raises(ValueError, match="two different x"):
        slope([4, 4], [1, 2])
