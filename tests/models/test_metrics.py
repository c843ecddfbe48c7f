"""Every figure of `models.metrics` on images so small that its value can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models import metrics
from models.metrics import METRICS


def alpha(*rows: list[float]) -> metrics.Alpha:
    return np.array(rows, np.float32)


def square(side: int, left: int, top: int, size: int, value: float = 1.0) -> metrics.Alpha:
    image = np.zeros((side, side), np.float32)
    image[top : top + size, left : left + size] = value
    return image


@pytest.mark.parametrize("name", METRICS)
def test_an_alpha_that_equals_the_truth_is_perfect_in_every_figure(name):
    image = square(24, 6, 7, 9)
    perfect = 1.0 if name in metrics.BETTER_HIGH else 0.0
    # OpenCV's filter rounds by where the array lies in memory: 1e-7 of a gradient.
    assert METRICS[name](image, image.copy()) == pytest.approx(perfect, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_nothing_found_where_nothing_is_is_perfect_in_every_figure(name):
    image = np.zeros((9, 12), np.float32)
    assert METRICS[name](image, image) == (1.0 if name in metrics.BETTER_HIGH else 0.0)


def test_iou_counts_pixels_from_a_half_on():
    predicted = alpha([0.5, 0.9, 0.49, 0.0])
    truth = alpha([0.0, 1.0, 1.0, 0.0])
    assert metrics.iou(predicted, truth) == pytest.approx(1 / 3)


def test_iou_of_a_subject_where_there_is_none_is_zero():
    assert metrics.iou(alpha([1.0, 0.0]), alpha([0.0, 0.0])) == 0.0


def test_mean_errors_and_their_sum_have_their_values():
    predicted, truth = alpha([0.5, 1.0], [0.0, 0.25]), alpha([0.0, 1.0], [1.0, 0.25])
    assert metrics.mae(predicted, truth) == pytest.approx(1.5 / 4)
    assert metrics.mse(predicted, truth) == pytest.approx(1.25 / 4)
    assert metrics.sad(predicted, truth) == pytest.approx(1.5 / 1000)


def test_edge_mae_sees_the_edge_and_nothing_else():
    truth = square(64, 0, 0, 32)
    far = truth.copy()
    far[60, 60] = 1.0
    near = truth.copy()
    near[30, 30] = 0.0
    assert metrics.edge_mae(far, truth) == 0.0
    band = np.count_nonzero(metrics.edge_band(truth))
    assert metrics.edge_mae(near, truth) == pytest.approx(1 / band)


def test_a_ramp_has_the_gradient_of_the_filters_response():
    # On a ramp of slope s the filter answers s * sum(x * g'(x)) * sum(g), both of unit norm.
    x = np.arange(-4, 5)
    g = np.exp(-(x**2) / (2 * 1.4**2))
    slope = -x * g
    answer = abs((x * slope).sum()) / np.linalg.norm(slope) * g.sum() / np.linalg.norm(g)
    ramp = np.tile(np.linspace(0, 1, 101, dtype=np.float32), (101, 1))
    flat = np.zeros_like(ramp)
    inner = metrics._gradient(ramp)[50, 50]
    assert inner == pytest.approx(0.01 * answer, rel=1e-4)
    everywhere = np.square(metrics._gradient(ramp)).sum() / 1000
    assert metrics.gradient_error(flat, ramp) == pytest.approx(everywhere, rel=1e-5)


def test_the_gradient_error_does_not_see_a_constant_offset():
    truth = square(32, 8, 8, 16, 0.5)
    assert metrics.gradient_error(truth + np.float32(0.25), truth) == pytest.approx(0, abs=1e-6)


def test_a_detached_piece_costs_connectivity_its_alpha_beyond_the_connected_level():
    truth = np.zeros((10, 30), np.float32)
    truth[:, :10] = 1.0
    predicted = truth.copy()
    predicted[4:6, 20:24] = 0.6  # 8 pixels, connected to the rest at level 0 only
    assert metrics.connectivity_error(predicted, truth) == pytest.approx(8 * 0.6 / 1000)


def test_connectivity_forgives_what_lies_below_theta():
    truth = np.zeros((10, 30), np.float32)
    truth[:, :10] = 1.0
    predicted = truth.copy()
    predicted[4:6, 20:24] = 0.14
    assert metrics.connectivity_error(predicted, truth) == 0.0


def test_connectivity_takes_four_neighbours_and_not_eight():
    truth = np.zeros((8, 8), np.float32)
    truth[:4, :4] = 1.0
    truth[4, 4] = 1.0  # touches the square by a corner
    predicted = truth.copy()
    predicted[4, 4] = 0.5
    # Connected at level 0 only: the truth stands 1 above it, the prediction a half.
    assert metrics.connectivity_error(predicted, truth) == pytest.approx(0.5 / 1000)


def test_outlines_within_the_tolerance_match_and_beyond_it_do_not():
    truth = square(100, 30, 30, 40)
    shifted = square(100, 32, 30, 40)
    assert metrics.boundary_f(shifted, truth, tolerance=2 / np.hypot(100, 100)) == 1.0
    assert metrics.boundary_f(shifted, truth, tolerance=0.0) < 0.7
    assert metrics.boundary_f(square(100, 0, 0, 10), truth) == 0.0


def test_boundary_f_is_the_harmonic_mean_of_precision_and_recall():
    truth = square(200, 20, 20, 40)
    both = truth + square(200, 120, 120, 40)
    # Half of the prediction's outline matches, all of the truth's is found.
    assert metrics.boundary_f(both, truth) == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_boundary_f_is_zero_when_one_of_two_has_an_outline():
    assert metrics.boundary_f(np.zeros((20, 20), np.float32), square(20, 5, 5, 8)) == 0.0


def test_the_frame_is_no_outline():
    assert not metrics.outline(np.ones((8, 8), np.float32)).any()


def test_fringe_sees_the_old_background_in_the_colours_alone():
    true = np.zeros((40, 40, 4), np.float32)
    true[:, 20:, 3] = 1.0
    true[:, 18:20, 3] = 0.5
    true[..., 0] = 200.0
    made = true.copy()
    made[:, 18:20, 1] = 100.0  # green of the old background in the soft columns
    columns = np.count_nonzero(metrics.edge_band(true[..., 3])[0])
    # Half of 100 in one of three channels, in two columns of the band, on black as on white.
    assert metrics.fringe(made, true) == pytest.approx(100 * 0.5 / 3 * 2 / columns)
    assert metrics.fringe(true, true) == 0.0


def test_fringe_counts_a_wrong_alpha_on_white_though_black_hides_it():
    true = np.zeros((20, 20, 4), np.float32)
    true[:, 10:, 3] = 1.0  # a black subject
    made = true.copy()
    made[:, 9, 3] = 1.0
    columns = np.count_nonzero(metrics.edge_band(true[..., 3])[0])
    assert metrics.fringe(made, true) == pytest.approx(255 / columns / 2)


def ranked(first: list[float], second: list[float]) -> float | None:
    return metrics.rank_correlation(np.array(first, np.float64), np.array(second, np.float64))


def test_rank_correlation_reads_the_order_and_not_the_size():
    assert ranked([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1)
    assert ranked([1, 2, 3, 4], [9, 8, 7, 1]) == pytest.approx(-1)
    assert ranked([1, 2, 3], [2, 1, 3]) == pytest.approx(0.5)


def test_equal_values_share_their_rank():
    # Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3: covariance 4.5, variances 4.5 and 5.
    assert ranked([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


@pytest.mark.parametrize("first", [[1, 1, 1], [1, 2]])
def test_rank_correlation_says_nothing_of_constants_or_pairs(first):
    assert ranked(first, first) is None
