"""The treatment of edges on the CPU is what the twins say, and does what its name says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kernels import cpu
from kernels.reference.feather import feather
from kernels.reference.guided_refine import guided_refine
from kernels.reference.levels import levels
from kernels.reference.shift import shift
from tests.kernels.cpu.pictures import SIZES, largest_difference, soft_subject

# float32 in place of float64, and cells rounded to 8 bits in the same way: one level of rounding.
LEVELS = 1


@pytest.mark.parametrize("size", SIZES)
def test_refinement_agrees_with_the_twin(size: tuple[int, int]) -> None:
    rgb, alpha = soft_subject(*size)
    assert largest_difference(cpu.guided_refine(rgb, alpha), guided_refine(rgb, alpha)) <= LEVELS


@pytest.mark.parametrize("settings", [{"scale": 3}, {"radius": 1}, {"epsilon": 1e-2}, {"scale": 1}])
def test_refinement_agrees_with_the_twin_in_every_setting(settings: dict[str, float]) -> None:
    rgb, alpha = soft_subject(61, 90)
    seen = cpu.guided_refine(rgb, alpha, **settings)  # type: ignore[arg-type]
    expected = guided_refine(rgb, alpha, **settings)  # type: ignore[arg-type]
    # Without averaging over cells, epsilon is all that keeps a window's system solvable.
    assert largest_difference(seen, expected) <= 2


def test_refinement_draws_a_coarse_edge_to_the_pictures() -> None:
    truth = np.zeros((240, 320), np.uint8)
    cv2.circle(truth, (160, 120), 70, 255, -1)
    rgb = np.where(truth[..., None] > 0, (220, 60, 40), (20, 90, 160)).astype(np.uint8)
    coarse = cv2.resize(cv2.resize(truth, (20, 15), interpolation=cv2.INTER_AREA), (320, 240))
    before = np.abs(coarse.astype(int) - truth).mean()
    after = np.abs(cpu.guided_refine(rgb, coarse).astype(int) - truth).mean()
    assert after < before / 2


def test_refinement_survives_windows_of_one_colour_in_many_shades() -> None:
    shades = np.random.default_rng(9).integers(0, 256, (90, 120, 1)).astype(np.float32)
    _, alpha = soft_subject(90, 120)
    for colour in ((1, 1, 1), (1, 0.5, 0.25), (0, 1, 0)):
        rgb = np.rint(shades * np.float32(colour)).astype(np.uint8)
        seen = cpu.guided_refine(rgb, alpha, scale=1, epsilon=1e-6)
        assert largest_difference(seen, guided_refine(rgb, alpha, scale=1, epsilon=1e-6)) <= 12


def test_refinement_leaves_an_alpha_without_an_edge_alone() -> None:
    rgb, _ = soft_subject(70, 90)
    for level in (0, 255):
        alpha = np.full((70, 90), level, np.uint8)
        assert np.array_equal(cpu.guided_refine(rgb, alpha), alpha)


@pytest.mark.parametrize("sigma", [0, 0.4, 3, 8, 8.5, 20, 60, 100])
@pytest.mark.parametrize("size", SIZES)
def test_feather_agrees_with_the_twin(size: tuple[int, int], sigma: float) -> None:
    _, alpha = soft_subject(*size)
    assert largest_difference(cpu.feather(alpha, sigma), feather(alpha, sigma)) <= 2


@pytest.mark.parametrize("pixels", [0, 0.5, 1, 7, 15, 20.4, -1, -2.3, -33])
@pytest.mark.parametrize("size", SIZES)
def test_shift_agrees_with_the_twin(size: tuple[int, int], pixels: float) -> None:
    _, alpha = soft_subject(*size)
    seen, expected = cpu.shift(alpha, pixels), shift(alpha, pixels)
    assert largest_difference(seen, expected) <= (0 if pixels == int(pixels) else LEVELS)


def test_shift_of_an_empty_alpha_is_empty() -> None:
    empty = np.zeros((20, 30), np.uint8)
    assert not cpu.shift(empty, 9).any()


@pytest.mark.parametrize(
    "settings", [(0, 1, None), (0.2, 0.8, None), (0, 1, 0.5), (0.1, 0.6, 0.7), (0, 1, 0)]
)
def test_levels_are_the_twins_exactly(settings: tuple[float, float, float | None]) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(cpu.levels(ramp, *settings), levels(ramp, *settings))
