"""Shadows: against their definition, and what anybody would expect of one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kernels.cpu.shadow import Shadow, lay_shadow, shadow


def block(height=240, width=200):
    """A subject of 100 rows and 80 columns that stands on row 160."""
    alpha = np.zeros((height, width), np.uint8)
    alpha[60:160, 60:140] = 255
    return alpha


@pytest.mark.parametrize("sigma", [0.0, 1.0, 6.0, 25.0])
def test_a_drop_shadow_is_the_alpha_moved_and_blurred(sigma):
    drawn = shadow(block(), Shadow("drop", 1.0, sigma, 7, -4))
    moved = np.roll(block(), (-4, 7), axis=(0, 1)).astype(np.float64)
    exact = (
        cv2.GaussianBlur(moved, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) if sigma else moved
    )
    assert np.abs(drawn - exact).max() <= 4  # seen: 3, done at a reduced size


def test_opacity_darkens_in_proportion():
    full, half = (shadow(block(), Shadow("drop", share, 5.0)) for share in (1.0, 0.5))
    assert np.abs(full / 2 - half).max() <= 1


def test_a_contact_shadow_lies_at_the_ground_and_nowhere_else():
    drawn = shadow(block(), Shadow("contact", 1.0, 4.0))
    assert drawn[161, 100] > 90
    assert not drawn[:140].any()
    assert not drawn[180:].any()


def test_what_is_lifted_from_the_ground_throws_no_contact_shadow():
    alpha = block()
    alpha[140:160, 60:100] = 0  # one of two legs is in the air
    drawn = shadow(alpha, Shadow("contact", 1.0, 2.0))
    assert drawn[161, 120] > 90
    assert not drawn[:, :90].any()


def test_the_defaults_follow_the_subjects_height():
    given = Shadow("drop", 0.5, 2.0, 1.0, 1.0)
    assert np.array_equal(shadow(block(), Shadow("drop")), shadow(block(), given))


def test_measures_are_in_pixels_of_the_source():
    by_scale = shadow(block(), Shadow("drop", 1.0, 3.0, 4.0, 5.0), scale=2.0)
    assert np.array_equal(by_scale, shadow(block(), Shadow("drop", 1.0, 6.0, 8.0, 10.0)))


@pytest.mark.parametrize("kind", ["drop", "contact"])
def test_immense_measures_neither_fail_nor_fill_memory(kind):
    what = Shadow(kind, 1.0, 200.0, float("inf"), -1e30)
    assert shadow(block(), what, scale=1e6).shape == block().shape


def test_no_subject_throws_no_shadow():
    assert not shadow(np.zeros((5, 6), np.uint8), Shadow("drop")).any()


def test_a_shadow_is_seen_beside_the_subject_only_and_is_black():
    rgb, alpha = np.full((240, 200, 3), 200, np.uint8), block()
    colors, total = lay_shadow(rgb, alpha, np.full_like(alpha, 100))
    assert (colors[alpha == 255] == 200).all()
    assert (total[alpha == 255] == 255).all()
    assert not colors[alpha == 0].any()
    assert (total[alpha == 0] == 100).all()
