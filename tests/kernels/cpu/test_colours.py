"""The treatment of colours on the CPU is what the twins say, and takes the background out."""

from __future__ import annotations

from importlib import import_module
from typing import Literal

import cv2
import numpy as np
import pytest

from kernels import cpu
from kernels.reference.despill import despill
from kernels.reference.foreground import foreground
from tests.kernels.cpu.pictures import SIZES, largest_difference, soft_subject

# The CPU takes its means of a smaller picture and in 8 bits: at most so far from the twin at a
# pixel, and so far on average as it is seen, under the alpha. 17 x 33 pixels are the worst.
LEVELS = 12
SEEN_LEVELS = 0.6


@pytest.mark.parametrize("strength", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("size", SIZES)
def test_colours_agree_with_the_twin(size: tuple[int, int], strength: float) -> None:
    rgb, alpha = soft_subject(*size)
    seen = cpu.foreground(rgb, alpha, strength)
    twin = foreground(rgb, alpha, strength)
    assert largest_difference(seen, twin) <= LEVELS
    apart = np.abs(seen.astype(int) - twin)
    assert (apart * alpha[..., None] / 255).mean() <= SEEN_LEVELS
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


def test_boxes_side_by_side_do_not_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, alpha = soft_subject(311, 403)
    alpha[:, 200:] = np.tile(np.linspace(0, 255, 203).astype(np.uint8), (311, 1))  # to the edge
    together = cpu.foreground(rgb, alpha)
    assert np.abs(together.astype(int) - foreground(rgb, alpha)).mean() < 1
    monkeypatch.setattr(import_module("kernels.cpu.foreground"), "PIXELS_AT_ONCE", 1)
    assert np.array_equal(cpu.foreground(rgb, alpha), together)


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
