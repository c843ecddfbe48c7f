"""The background alone: the subject is gone, the rest is untouched."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu.inpaint import inpaint


def scene(height=300, width=400):
    """A slope from left to right with a magenta square on it."""
    x = np.linspace(40, 200, width)
    truth = np.rint(np.broadcast_to(x[None, :, None], (height, width, 3))).astype(np.uint8)
    alpha = np.zeros((height, width), np.uint8)
    alpha[100:200, 150:250] = 255
    rgb = truth.copy()
    rgb[alpha > 0] = (255, 0, 255)
    return rgb, alpha, truth


def test_the_subject_is_gone_and_the_slope_goes_on():
    rgb, alpha, truth = scene()
    error = np.abs(inpaint(rgb, alpha).astype(int) - truth)
    assert error.max() <= 24  # the square itself is off by up to 160
    assert error[alpha > 0].mean() <= 5


def test_what_is_far_from_the_subject_is_untouched():
    rgb, alpha, _ = scene()
    result = inpaint(rgb, alpha)
    assert np.array_equal(result[:90], rgb[:90])
    assert np.array_equal(result[:, 260:], rgb[:, 260:])


def test_without_a_subject_it_is_the_source_and_not_the_same_array():
    rgb, _, _ = scene()
    result = inpaint(rgb, np.zeros(rgb.shape[:2], np.uint8))
    assert np.array_equal(result, rgb)
    assert not np.shares_memory(result, rgb)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 2), (40, 1), (33, 700)])
def test_without_a_background_it_is_black(size_hw):
    rgb = np.full((*size_hw, 3), 90, np.uint8)
    assert not inpaint(rgb, np.full(size_hw, 255, np.uint8)).any()


def test_sides_that_differ_meet_without_a_seam():
    rgb = np.full((300, 400, 3), 40, np.uint8)
    rgb[150:] = 120
    rgb[:, 200:] += 80
    alpha = np.zeros((300, 400), np.uint8)
    alpha[60:240, 110:290] = 255
    truth = rgb.copy()
    rgb[alpha > 0] = (255, 0, 255)
    result = inpaint(rgb, alpha).astype(int)
    deep = result[90:210, 140:260]
    # Of the 80 levels between two sides; a seam has 10.
    assert max(np.abs(np.diff(deep, axis=axis)).max() for axis in (0, 1)) <= 6
    untouched = np.s_[:, :100]
    assert np.array_equal(result[untouched], truth[untouched])
