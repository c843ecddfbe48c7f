"""The numbers a model is judged by."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.metrics import boundary_f, iou, mae, rank_correlation, soft_band_mae


def test_metrics_are_perfect_when_prediction_is_truth(disc) -> None:
    truth = disc(64, 20)
    assert iou(truth, truth) == 1.0
    assert mae(truth, truth) == 0.0
    assert boundary_f(truth, truth) == 1.0
    assert soft_band_mae(truth, truth) == 0.0


def test_iou_counts_pixels_above_one_half() -> None:
    truth = np.zeros((4, 4), np.float32)
    truth[:2] = 1.0
    predicted = np.zeros((4, 4), np.float32)
    predicted[1:3] = 0.6
    assert iou(predicted, truth) == pytest.approx(4 / 12)


def test_two_empty_alphas_agree_and_one_empty_alpha_does_not(disc) -> None:
    empty, full = np.zeros((32, 32), np.float32), disc(32, 10)
    assert iou(empty, empty) == 1.0
    assert boundary_f(empty, empty) == 1.0
    assert iou(empty, full) == 0.0
    assert boundary_f(empty, full) == 0.0


def test_boundary_f_forgives_one_pixel_and_punishes_ten(disc) -> None:
    truth = disc(200, 60)
    assert boundary_f(disc(200, 60, shift=1), truth) == 1.0
    assert boundary_f(disc(200, 60, shift=10), truth) < 0.5


def test_soft_band_mae_looks_only_near_the_edge(disc) -> None:
    truth = disc(100, 30)
    far_wrong = truth.copy()
    far_wrong[:5, :5] = 1.0
    assert soft_band_mae(far_wrong, truth) == 0.0
    assert mae(far_wrong, truth) > 0.0


def test_rank_correlation_asks_only_for_the_order() -> None:
    first = np.array([0.1, 0.2, 0.3, 0.4])
    assert rank_correlation(first, first**5) == pytest.approx(1.0)
    assert rank_correlation(first, -first) == pytest.approx(-1.0)
    assert rank_correlation(first, np.ones(4)) == 0.0


def test_rank_correlation_gives_ties_their_mean_place() -> None:
    # places 0.5, 0.5, 2 against 0, 1, 2: by hand sqrt(3) / 2
    found = rank_correlation(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    assert found == pytest.approx(np.sqrt(3) / 2)
