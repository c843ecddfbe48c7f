"""Which pictures are drawn on flat paper: drawings are, photos and their cut-outs are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kernels.cpu.flat_paper import find_paper
from loadtest.drawn_pages import KINDS, as_jpeg, page

SIDE = 400


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_kind_of_drawing_is_found_with_its_paper(kind, seed):
    drawn = page(kind, seed, SIDE)
    paper = find_paper(drawn.picture)
    assert paper is not None
    assert paper.color == drawn.paper
    assert not paper.is_lossy


@pytest.mark.parametrize("kind", ["diagram", "screenshot", "cartoon", "chart"])
def test_a_drawing_that_was_a_jpeg_is_found_too(kind):
    paper = find_paper(page(kind, 3, SIDE, jpeg=90).picture)
    assert paper is not None
    assert paper.is_lossy


def shaded(paper=(255, 255, 255), *, noise=0.0, seed=1):
    """A ball with light and shade, as a photo of a product has it, on paper of one colour."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:240j, -1.2:1.2:300j]
    inside = np.clip((0.7 - np.hypot(x, y)) * 40, 0, 1)[..., None]
    light = 0.55 + 0.45 * np.clip(0.6 * -x + 0.6 * -y + 0.3, -1, 1)
    ball = light[..., None] * (200, 120, 90) + rng.normal(0, noise, (240, 300, 3))
    return np.clip(inside * ball + (1 - inside) * np.array(paper), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("paper", [(255, 255, 255), (0, 0, 0), (90, 160, 220)])
@pytest.mark.parametrize("noise", [0, 2, 6])
def test_a_shaded_thing_on_a_flat_background_is_no_drawing(paper, noise):
    assert find_paper(shaded(paper, noise=noise)) is None
    assert find_paper(as_jpeg(shaded(paper, noise=noise), 90)) is None


def test_a_grey_thing_of_little_contrast_is_no_drawing():
    ball = cv2.cvtColor(cv2.cvtColor(shaded(), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    assert find_paper(ball // 4 + np.uint8(191)) is None


def test_a_photo_whose_border_is_not_of_one_colour_is_none():
    rng = np.random.default_rng(2)
    ramp = np.linspace(80, 200, 200)[:, None, None] + rng.normal(0, 3, (200, 200, 3))
    assert find_paper(ramp.astype(np.uint8)) is None


def test_a_drawing_that_holds_a_photo_goes_to_the_model():
    drawn = page("diagram", 1, SIDE).picture.copy()
    drawn[60:160, 40:140] = shaded(noise=4)[60:160, 40:140]
    assert find_paper(drawn) is None


def badge(height=240, width=300):
    """A drawn badge: a ring, and a disc from red to orange, as an untouched file has it."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    away = np.hypot(x - width / 2, y - height / 2)
    colours = np.zeros((height, width, 3))
    colours[...] = np.stack([200 + 0 * x, 60 + y / 2, 40 + 0 * x], axis=-1)
    colours[away > 80] = (30, 60, 140)
    alpha = np.clip(100.5 - away, 0, 1)[..., None]
    return np.rint(alpha * colours + (1 - alpha) * 250).astype(np.uint8)


@pytest.mark.parametrize("height", [240, 700])  # in one band, and over several
def test_a_drawing_with_gradients_is_found_where_the_file_was_never_lossy(height):
    paper = find_paper(badge(height))
    assert paper is not None
    assert paper.color == (250, 250, 250)


@pytest.mark.parametrize("grow", [1, 2, 3])
def test_a_photographed_thing_is_no_drawing_however_much_it_was_blown_up(grow):
    photo = shaded(noise=5, seed=4)
    large = cv2.resize(photo, None, fx=grow, fy=grow, interpolation=cv2.INTER_LINEAR)
    assert find_paper(large) is None
    grainy = badge().astype(int) + np.random.default_rng(5).integers(-4, 5, badge().shape)
    grainy = np.where(badge() == 250, 250, grainy).astype(np.uint8)  # a photo of it, cut out
    assert find_paper(grainy) is None


def test_blank_paper_is_no_drawing():
    assert find_paper(np.full((50, 70, 3), 255, np.uint8)) is None


def test_a_jpeg_that_is_a_shade_off_its_paper_is_no_drawing_and_no_trouble():
    picture = np.full((160, 240, 3), 250, np.uint8)
    picture[20:140, 10:130] = picture[40:130, 150:230] = 255
    for quality in range(80, 100):
        find_paper(as_jpeg(picture, quality))


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (2, 2), (7, 3)])
def test_the_smallest_pictures_are_no_drawings_and_no_trouble(size_hw):
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    find_paper(picture)
    find_paper(picture, forced=True)


def test_whoever_insists_needs_half_of_the_border_only():
    drawn = page("logo", 1, SIDE).picture.copy()
    drawn[:, :8] = (10, 200, 10)
    assert find_paper(drawn) is None
    paper = find_paper(drawn, forced=True)
    assert paper is not None
    assert paper.color == page("logo", 1, SIDE).paper
    noise = np.random.default_rng(1).integers(0, 256, (90, 90, 3), np.uint8)
    assert find_paper(noise, forced=True) is None
