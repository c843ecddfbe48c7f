"""What counts as a cut-out, and what must never be counted as speed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from loadtest.answers import WrongAnswer, difference, is_whole_png, open_cutout


def cutout(width: int = 40, height: int = 30) -> np.ndarray:
    """(H, W, 4) uint8: the right half is subject, the left half is zero."""
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[:, width // 2 :] = (200, 100, 50, 255)
    return pixels


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_whole_png_of_the_right_size_is_taken() -> None:
    assert is_whole_png(png(cutout()), 40, 30)


def test_a_cut_off_png_is_not_whole() -> None:
    assert not is_whole_png(png(cutout())[:-1], 40, 30)


def test_a_png_of_another_size_is_not_taken() -> None:
    assert not is_whole_png(png(cutout()), 30, 40)


def test_an_error_page_is_no_png() -> None:
    assert not is_whole_png(b'{"detail": "busy"}', 40, 30)


def test_a_plausible_cutout_gives_its_alpha() -> None:
    alpha = open_cutout(png(cutout()), 40, 30)
    assert alpha.shape == (30, 40)
    assert alpha.mean() == pytest.approx(127.5)


def test_an_answer_that_is_no_picture_is_refused() -> None:
    with pytest.raises(WrongAnswer, match="no picture"):
        open_cutout(b"oops", 40, 30)


def test_a_picture_without_alpha_is_refused() -> None:
    with pytest.raises(WrongAnswer, match="mode RGB"):
        open_cutout(png(cutout()[:, :, :3]), 40, 30)


def test_another_size_is_refused() -> None:
    with pytest.raises(WrongAnswer, match="40x30 pixels, the photo has 41x30"):
        open_cutout(png(cutout()), 41, 30)


def test_colour_under_alpha_zero_is_refused() -> None:
    pixels = cutout()
    pixels[0, 0, 1] = 9
    with pytest.raises(WrongAnswer, match="colour is left"):
        open_cutout(png(pixels), 40, 30)


@pytest.mark.parametrize("level", [0, 255])
def test_an_alpha_that_keeps_nothing_or_everything_is_refused(level: int) -> None:
    with pytest.raises(WrongAnswer, match="nothing was cut out"):
        open_cutout(png(np.full((30, 40, 4), level, np.uint8)), 40, 30)


def test_equal_alphas_do_not_differ() -> None:
    alpha = cutout()[:, :, 3]
    same = difference(alpha, alpha)
    assert (same.mean_abs, same.share_over_16, same.iou) == (0, 0, 1)


def test_the_difference_of_two_alphas_is_measured_in_levels_pixels_and_overlap() -> None:
    one = np.array([[0, 255, 255, 100]], np.uint8)
    other = np.array([[0, 255, 55, 110]], np.uint8)
    apart = difference(one, other)
    assert apart.mean_abs == pytest.approx(52.5)
    assert apart.share_over_16 == pytest.approx(0.25)
    assert apart.iou == pytest.approx(0.5)
