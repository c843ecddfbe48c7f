"""The subject over a picture: the OpenCV path against its twin."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.backdrop import lay
from kernels.cpu.composite_over import composite_over
from kernels.reference.composite_over import composite_over as twin

SIZES_HW = [(1, 1), (17, 33), (120, 90)]
BACKGROUNDS_HW = [(1, 1), (5, 40), (200, 333), (3, 500)]


def pictures(size_hw, background_hw, channels):
    rng = np.random.default_rng(7)
    return (
        rng.integers(0, 256, (*size_hw, 3), np.uint8),
        rng.integers(0, 256, size_hw, np.uint8),
        rng.integers(0, 256, (*background_hw, channels), np.uint8),
    )


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("background_hw", BACKGROUNDS_HW)
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("fit", ["cover", "contain", "tile", "stretch"])
@pytest.mark.parametrize("color", [(255, 255, 255, 255), (10, 200, 30, 128), (10, 200, 30, 0)])
def test_every_fit_agrees_with_the_twin(size_hw, background_hw, channels, fit, color):
    rgb, alpha, behind = pictures(size_hw, background_hw, channels)
    at = lay(background_hw[::-1], size_hw[::-1], fit, (0.3, 0.8))
    fast = composite_over(rgb, alpha, color, behind, at).astype(int)
    rgba = behind if channels == 4 else np.dstack([behind, np.full(background_hw, 255, np.uint8)])
    truth = twin(rgb, alpha, color, rgba.astype(np.float64), at).astype(int)
    assert fast.shape == truth.shape
    if color[3] == 255:
        assert np.abs(fast - truth).max() <= 2  # layers are rounded one by one
        return
    assert np.abs(fast[..., 3] - truth[..., 3]).max() <= 1
    # Straight colours are only as exact as their alpha is large: what is seen is compared.
    assert (np.abs(fast - truth)[..., :3] * truth[..., 3:] / 255).max() <= 3
    assert not fast[fast[..., 3] == 0].any()


def test_a_strip_that_covers_a_canvas_is_magnified_without_filling_memory():
    # Resized whole it would be 1200 x 2,400,000 pixels.
    strip = np.zeros((8000, 4, 3), np.uint8)
    strip[4000:] = 200
    rgb, alpha = np.zeros((900, 1200, 3), np.uint8), np.zeros((900, 1200), np.uint8)
    at = lay((4, 8000), (1200, 900), "cover")
    laid = composite_over(rgb, alpha, (255,) * 4, strip, at)
    assert (laid[:280] == 0).all()
    assert (laid[-280:] == 200).all()
    assert abs(int(laid[450, 600, 0]) - 100) <= 4


def test_a_picture_that_does_not_reach_shows_the_colour_beside_it():
    rgb, alpha = np.zeros((40, 100, 3), np.uint8), np.zeros((40, 100), np.uint8)
    picture = np.full((10, 10, 3), 50, np.uint8)
    laid = composite_over(rgb, alpha, (9, 8, 7, 255), picture, lay((10, 10), (100, 40), "contain"))
    assert (laid[:, :30] == (9, 8, 7)).all()
    assert (laid[:, 30:70] == 50).all()
