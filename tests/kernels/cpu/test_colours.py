"""The treatment of colours on the CPU is what the twins say, and takes the background out."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest

from kernels import cpu
from kernels.reference.despill import despill
from kernels.reference.foreground import foreground
from tests.kernels.cpu.pictures import SIZES, largest_difference, soft_subject

# The wide means are of pixels halved and rounded to 8 bits.
LEVELS = 2


@pytest.mark.parametrize("strength", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("size", SIZES)
def test_colours_agree_with_the_twin(size: tuple[int, int], strength: float) -> None:
    rgb, alpha = soft_subject(*size)
    seen = cpu.foreground(rgb, alpha, strength)
    assert largest_difference(seen, foreground(rgb, alpha, strength)) <= LEVELS
    sure = (alpha == 0) | (alpha == 255)
    assert np.array_equal(seen[sure], rgb[sure])


def on_blue(sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """A red disc with a soft edge on blue, and its true alpha."""
    alpha = np.zeros((200, 240), np.uint8)
    cv2.circle(alpha, (120, 100), 60, 255, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), sigma)
    share = alpha[..., None] / 255
    mixed = share * (200, 30, 20) + (1 - share) * (10, 40, 220)
    return np.rint(mixed).astype(np.uint8), alpha


def test_a_true_alpha_gives_the_subjects_colours_back() -> None:
    rgb, alpha = on_blue(3)
    seen = cpu.foreground(rgb, alpha)[alpha > 25].astype(int)
    assert np.abs(seen - (200, 30, 20)).mean() < 3
    assert np.abs(rgb[alpha > 25].astype(int) - (200, 30, 20)).mean() > 3


def test_what_a_feather_shows_of_the_background_takes_the_subjects_colours() -> None:
    rgb, alpha = on_blue(1)
    shown = cpu.feather(alpha, 12)
    seen = cpu.foreground(rgb, alpha, shown_u8=shown)
    halo = (alpha == 0) & (shown > 10)
    assert halo.sum() > 1000
    assert rgb[halo][:, 2].mean() > 200
    assert seen[halo][:, 2].mean() < 60


def test_an_alpha_without_an_edge_gives_the_same_picture_back() -> None:
    rgb, _ = soft_subject(40, 60)
    assert cpu.foreground(rgb, np.full((40, 60), 255, np.uint8)) is rgb
    assert cpu.foreground(rgb, np.zeros((40, 60), np.uint8)) is rgb


@pytest.mark.parametrize("screen", ["green", "blue"])
def test_despill_is_the_twins_exactly(screen: Literal["green", "blue"]) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (61, 47, 3), np.uint8)
    assert np.array_equal(cpu.despill(rgb, screen), despill(rgb, screen))
