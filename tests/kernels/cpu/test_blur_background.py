"""The blurred background: the OpenCV path against its twin."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu.blur_background import blur, blur_background
from kernels.reference.blur import blur as twin


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0, 5.0, 12.0, 40.0, 200.0])
@pytest.mark.parametrize("size_hw", [(1, 1), (2, 3), (37, 53), (203, 317), (256, 320)])
def test_every_size_and_sigma_agrees_with_the_twin(size_hw, sigma):
    rng = np.random.default_rng(size_hw[0])
    rgb, alpha = (
        rng.integers(0, 256, (*size_hw, 3), np.uint8),
        rng.integers(0, 256, size_hw, np.uint8),
    )
    alpha[: size_hw[0] // 2] = 255
    fast, truth = blur(rgb, alpha, sigma), twin(rgb, alpha, sigma)
    assert fast.shape == truth.shape
    assert np.abs(fast.astype(int) - truth).max() <= 1  # float32 sums


@pytest.mark.parametrize("sigma", [1.0, 12.0, 60.0])
def test_a_subject_with_a_hard_edge_does_not_bleed_into_the_background(sigma):
    rgb, alpha = np.full((200, 300, 3), (10, 100, 50), np.uint8), np.zeros((200, 300), np.uint8)
    alpha[60:140, 90:210] = 255
    rgb[alpha > 0] = (255, 0, 255)
    assert np.abs(blur_background(rgb, alpha, sigma).astype(int) - (10, 100, 50)).max() <= 1


def test_a_source_without_any_background_gives_black():
    rgb, alpha = np.full((50, 60, 3), 200, np.uint8), np.full((50, 60), 255, np.uint8)
    assert not blur_background(rgb, alpha, 12.0).any()


def test_a_sigma_out_of_range_is_refused():
    with pytest.raises(ValueError, match="201"):
        blur_background(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), 201.0)
