"""The colour of a screen, found in a picture."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu.screen_color import has_color, is_grey, screen_color
from tests.kernels.cpu.test_chroma_key import BLUE, GREEN, scene, subject


@pytest.mark.parametrize("key", [GREEN, BLUE])
def test_the_screen_is_found_under_uneven_light_noise_and_spill(key):
    colours, alpha = subject()
    found = screen_color(scene(colours, alpha, key))
    assert found is not None
    assert np.abs(np.array(found) - key).max() < 25


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_the_smallest_pictures_have_a_screen_too(size_hw):
    picture = np.full((*size_hw, 3), GREEN, np.uint8)
    assert screen_color(picture) == GREEN


def test_a_green_screen_is_believed_sooner_than_the_warm_wood_that_fills_more():
    picture = np.full((100, 100, 3), (180, 110, 50), np.uint8)
    picture[:40] = GREEN
    found = screen_color(picture)
    assert found == GREEN


def test_a_grey_picture_has_no_screen():
    assert screen_color(np.full((50, 50, 3), 90, np.uint8)) is None


def test_a_red_dress_is_no_screen_but_a_red_wall_is():
    picture = np.full((100, 100, 3), 200, np.uint8)
    picture[30:, 30:70] = (200, 30, 40)
    assert screen_color(picture) is None
    picture[:] = (200, 30, 40)
    picture[30:, 40:60] = 120
    assert screen_color(picture) == (200, 30, 40)


def test_a_sliver_of_the_screen_is_enough_to_keep_its_colour():
    picture = np.full((100, 100, 3), 120, np.uint8)
    picture[:, :6] = GREEN
    assert has_color(picture, GREEN)
    assert not has_color(picture, BLUE)


def test_what_has_no_hue_is_grey():
    assert is_grey((128, 128, 128))
    assert is_grey((100, 120, 100))
    assert not is_grey((0, 177, 64))
