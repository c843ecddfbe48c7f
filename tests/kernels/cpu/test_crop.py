"""Pixels cut to a frame."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu.crop import (
    circle,
    crop_alpha,
    crop_background,
    crop_subject,
    middle_of,
    visible_box,
)
from kernels.framing import Frame


def picture(height=60, width=80):
    rng = np.random.default_rng(4)
    alpha = rng.integers(0, 256, (height, width), np.uint8)
    return rng.integers(0, 256, (height, width, 3), np.uint8), alpha


def test_a_frame_inside_the_source_is_its_pixels():
    rgb, alpha = picture()
    colors, mask = crop_subject(rgb, alpha, Frame(10, 5, 30, 20, 30, 20))
    assert np.array_equal(colors, rgb[5:25, 10:40])
    assert np.array_equal(mask, alpha[5:25, 10:40])


def test_beyond_the_source_the_subject_ends_and_the_background_goes_on():
    rgb, alpha = picture()
    at = Frame(-10, -5, 100, 80, 100, 80)
    colors, mask = crop_subject(rgb, alpha, at)
    assert np.array_equal(mask[5:65, 10:90], alpha)
    assert not mask[:5].any()
    assert not mask[:, 90:].any()
    assert not colors[65:].any()
    behind = crop_background(rgb, at)
    assert np.array_equal(behind[5:65, 10:90], rgb)
    assert np.array_equal(behind[0, 10:90], rgb[0])


def test_shrinking_mixes_no_old_background_into_the_subject():
    rgb, alpha = np.full((400, 400, 3), (0, 255, 0), np.uint8), np.zeros((400, 400), np.uint8)
    alpha[:, 101:] = 255
    rgb[alpha > 0] = (200, 10, 30)
    colors, mask = crop_subject(rgb, alpha, Frame(0, 0, 400, 400, 50, 50))
    assert 0 < mask[0, 12] < 255
    assert np.abs(colors[mask > 0].astype(int) - (200, 10, 30)).max() <= 1


def test_a_speck_on_a_huge_frame_costs_the_canvas_alone():
    rgb, alpha = picture()
    at = Frame(-500_000, -500_000, 1_000_000, 1_000_000, 64, 64)
    assert crop_subject(rgb, alpha, at)[0].shape == (64, 64, 3)


@pytest.mark.parametrize("size", [(1, 1), (200, 3), (7, 300)])
def test_any_size_comes_out_as_asked(size):
    rgb, alpha = picture()
    at = Frame(-3, 2, 70, 90, *size)
    assert crop_alpha(alpha, at).shape == size[::-1]
    assert crop_background(rgb, at).shape == (*size[::-1], 3)


def test_the_visible_box_takes_hair_along_but_no_faint_patch_far_away():
    alpha = np.zeros((200, 200), np.uint8)
    alpha[50:150, 60:140] = 255
    alpha[46:50, 60:140] = 40
    alpha[0:5, 0:5] = 40
    assert visible_box(alpha) == (60, 46, 140, 150)


def test_without_a_subject_there_is_no_box():
    assert visible_box(np.full((9, 9), 127, np.uint8)) is None


def test_a_circle_has_the_area_of_one_and_a_rim_of_one_pixel():
    disc = circle(101, 80)
    assert abs(disc.sum() / 255 - np.pi * 40**2) < 3
    assert disc[40, 50] == 255
    assert not disc[:, :10].any()
    assert set(np.unique(disc)) > {0, 255}
    assert np.array_equal(disc, disc[::-1, ::-1])


def test_the_middle_is_where_most_of_the_subject_is():
    alpha = np.zeros((20, 40), np.uint8)
    assert middle_of(alpha) is None
    alpha[4:8, 10:12] = 200
    assert middle_of(alpha) == pytest.approx((11, 6))
    alpha[4:8, 30:34] = 50
    assert middle_of(alpha) == pytest.approx((11 * 2 / 3 + 32 / 3, 6))
