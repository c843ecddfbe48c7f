"""Cut-outs and composites: the OpenCV path against its NumPy twin, and the corners of both."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import cpu, reference

SIZES_HW = [(1, 1), (17, 33), (1, 3000), (3000, 1), (1080, 1920)]


def picture(height, width):
    random = np.random.default_rng(11)
    rgb = random.integers(0, 256, (height, width, 3), np.uint8)
    alpha = random.integers(0, 256, (height, width), np.uint8)
    alpha[random.random((height, width)) < 0.3] = 0
    alpha[random.random((height, width)) < 0.3] = 255
    return rgb, alpha


@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_cutouts_are_the_twins_to_the_bit(size_hw):
    rgb, alpha = picture(*size_hw)
    assert np.array_equal(cpu.cutout(rgb, alpha), reference.cutout(rgb, alpha))


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("color", [(255, 255, 255, 255), (0, 0, 0, 255), (13, 200, 77, 255)])
def test_opaque_composites_agree_with_the_twin_to_one_level(size_hw, color):
    rgb, alpha = picture(*size_hw)
    fast, truth = cpu.composite(rgb, alpha, color), reference.composite(rgb, alpha, color)
    assert fast.shape == (*size_hw, 3)
    # Subject and background are rounded one by one before they are added.
    assert np.abs(fast.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("color", [(255, 255, 255, 128), (13, 200, 77, 1), (90, 0, 255, 254)])
def test_translucent_composites_agree_with_the_twin(size_hw, color):
    rgb, alpha = picture(*size_hw)
    fast, truth = cpu.composite(rgb, alpha, color), reference.composite(rgb, alpha, color)
    assert fast.shape == (*size_hw, 4)
    assert np.array_equal(fast[..., 3], truth[..., 3])
    # The subject's share is a byte, too: half a level more on each of the two parts.
    assert np.abs(fast.astype(int) - truth).max() <= 2


def test_an_opaque_composite_keeps_subject_and_background_untouched_where_alpha_is_pure():
    rgb, _ = picture(40, 60)
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 30:] = 255
    result = cpu.composite(rgb, alpha, (9, 130, 251, 255))
    assert np.array_equal(result[:, 30:], rgb[:, 30:])
    assert (result[:, :30] == (9, 130, 251)).all()


def test_a_composite_on_a_wholly_transparent_colour_is_the_cutout():
    rgb, alpha = picture(40, 60)
    result = cpu.composite(rgb, alpha, (9, 130, 251, 0))
    assert np.array_equal(result, cpu.cutout(rgb, alpha))
    assert np.array_equal(reference.composite(rgb, alpha, (9, 130, 251, 0))[..., 3], alpha)


def test_laying_a_translucent_composite_on_a_colour_equals_doing_both_at_once():
    rgb, alpha = picture(64, 64)
    veil, wall = (200, 40, 90, 100), (20, 220, 160, 255)
    laid = cpu.composite(rgb, alpha, veil)
    by_two = cpu.composite(laid[..., :3].copy(), laid[..., 3].copy(), wall)
    mixed = np.rint([(v * 100 + w * 155) / 255 for v, w in zip(veil[:3], wall[:3], strict=True)])
    at_once = reference.composite(rgb, alpha, (*mixed.astype(int).tolist(), 255))
    assert np.abs(by_two.astype(int) - at_once).max() <= 3  # three roundings on the longer way


def test_nothing_that_came_in_is_changed():
    rgb, alpha = picture(30, 30)
    kept = rgb.copy(), alpha.copy()
    cpu.cutout(rgb, alpha)
    cpu.composite(rgb, alpha, (1, 2, 3, 4))
    cpu.composite(rgb, alpha, (1, 2, 3, 255))
    assert np.array_equal(rgb, kept[0])
    assert np.array_equal(alpha, kept[1])


def test_views_into_larger_images_are_read_rightly():
    rgb, alpha = picture(100, 120)
    part = np.s_[10:90, 15:100]
    assert np.array_equal(
        cpu.cutout(rgb[part], alpha[part]), cpu.cutout(rgb[part].copy(), alpha[part].copy())
    )
    color = (5, 6, 7, 200)
    assert np.array_equal(
        cpu.composite(rgb[part], alpha[part], color),
        cpu.composite(rgb[part].copy(), alpha[part].copy(), color),
    )
