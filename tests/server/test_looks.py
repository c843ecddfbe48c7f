"""Looks: each part and their order."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import cpu
from kernels.cpu.shadow import Shadow
from kernels.framing import Crop, Length
from server.behind import Picture
from server.codecs.errors import ImageTooLarge
from server.codecs.header import Limits
from server.job import BlurBehind, Color, InpaintBehind, PictureBehind, PixelFormat, RawSource
from server.looks import Look, dress

WHITE = Color(255, 255, 255)
SHADOW = Shadow("drop", 1.0, 0.0, 10.0, 0.0)


def scene():
    """A red block of 40 x 40 on green, 100 rows, 120 columns."""
    rgb, alpha = np.full((100, 120, 3), (0, 160, 0), np.uint8), np.zeros((100, 120), np.uint8)
    alpha[30:70, 40:80] = 255
    rgb[alpha > 0] = (200, 0, 0)
    return rgb, alpha


def test_a_plain_look_gives_what_the_kernels_give():
    rgb, alpha = scene()
    assert np.array_equal(dress(Look(), "cutout", rgb, alpha).pixels, cpu.cutout(rgb, alpha))
    assert dress(Look(), "alpha", rgb, alpha).pixels is alpha
    assert dress(Look(), "colors", rgb, alpha).pixels is rgb
    on_white = dress(Look(WHITE), "composite", rgb, alpha).pixels
    assert np.array_equal(on_white, cpu.composite(rgb, alpha, WHITE.rgba))


def test_only_what_the_last_pass_makes_is_plain():
    assert Look().is_plain
    assert Look(WHITE).is_plain
    for look in (Look(BlurBehind()), Look(crop=Crop()), Look(shadow=SHADOW)):
        assert not look.is_plain


def test_a_crop_is_tight_and_says_where_it_lies():
    rgb, alpha = scene()
    dressed = dress(Look(crop=Crop()), "cutout", rgb, alpha)
    assert np.array_equal(dressed.pixels[..., :3], rgb[30:70, 40:80])
    assert dressed.frame[:4] == (40, 30, 40, 40)


def test_a_crop_without_a_subject_has_the_size_it_would_have_had():
    rgb, _ = scene()
    look = Look(crop=Crop(canvas_width=64, canvas_height=48))
    assert not dress(look, "cutout", rgb, np.zeros((100, 120), np.uint8)).pixels.any()
    assert dress(look, "alpha", rgb, np.zeros((100, 120), np.uint8)).pixels.shape == (48, 64)


def test_a_crop_that_is_too_large_is_refused_before_it_is_made():
    rgb, alpha = scene()
    look = Look(crop=Crop(canvas_width=4_000_000_000))
    with pytest.raises(ImageTooLarge, match="give a smaller canvas"):
        dress(look, "alpha", rgb, alpha, limits=Limits(25.0, 16384))


def test_a_shadow_is_under_the_subject_and_on_the_background():
    rgb, alpha = scene()
    pixels = dress(Look(WHITE, shadow=SHADOW), "composite", rgb, alpha).pixels
    assert (pixels[50, 85] == 0).all()
    assert (pixels[50, 60] == (200, 0, 0)).all()
    assert (pixels[50, 95] == 255).all()


def test_a_shadow_is_part_of_a_cutout_but_not_of_an_alpha():
    rgb, alpha = scene()
    cut = dress(Look(shadow=SHADOW), "cutout", rgb, alpha).pixels
    assert cut[50, 85].tolist() == [0, 0, 0, 255]
    assert not dress(Look(shadow=SHADOW), "alpha", rgb, alpha).pixels[50, 85]


def test_a_shadow_reaches_into_the_margin_beyond_the_source():
    rgb, alpha = scene()
    crop = Crop(margin_right=Length(60, "px"))
    shadow = Shadow("drop", 1.0, 0.0, 50.0, 0.0)
    pixels = dress(Look(WHITE, crop, shadow), "composite", rgb, alpha).pixels
    assert pixels.shape == (40, 100, 3)
    assert (pixels[20, 85] == 0).all()  # column 125 of a source of 120


def test_a_picture_covers_the_cropped_canvas():
    rgb, alpha = scene()
    behind = PictureBehind(Picture(RawSource(bytes([77]) * 189, PixelFormat.RGB8, 9, 7)))
    crop = Crop(margin_left=Length(50, "px"), canvas_width=45)
    pixels = dress(Look(behind, crop), "composite", rgb, alpha).pixels
    assert pixels.shape == (20, 45, 3)
    assert (pixels[:, :20] == 77).all()


def test_a_blurred_background_keeps_the_subject_and_shows_none_of_it_behind():
    rgb, alpha = scene()
    pixels = dress(Look(BlurBehind(12.0)), "composite", rgb, alpha).pixels
    assert np.abs(pixels.astype(int) - rgb).max() <= 1  # red on even green stays just that


def test_a_blur_of_0_is_the_source():
    rgb, alpha = scene()
    assert np.array_equal(dress(Look(BlurBehind(0)), "composite", rgb, alpha).pixels, rgb)


def test_what_is_blurred_is_the_source_not_the_clean_colours():
    rgb, alpha = scene()
    clean = np.where(alpha[..., None] > 0, rgb, 0).astype(np.uint8)
    look = Look(BlurBehind(3.0))
    pixels = dress(look, "composite", clean, alpha, source_rgb_u8=rgb).pixels
    assert np.abs(pixels[5, 5].astype(int) - (0, 160, 0)).max() <= 1


def test_the_background_alone_shows_no_subject():
    rgb, alpha = scene()
    pixels = dress(Look(InpaintBehind()), "composite", rgb, alpha).pixels
    assert np.abs(pixels.astype(int) - (0, 160, 0)).max() <= 2


def test_a_circle_cuts_the_background_too():
    rgb, alpha = scene()
    look = Look(WHITE, Crop(circle=True, margin_top=Length(10, "px")))
    pixels = dress(look, "composite", rgb, alpha).pixels
    assert pixels.shape == (50, 50, 4)
    assert pixels[0, 0].tolist() == [0, 0, 0, 0]
    assert pixels[25, 2].tolist() == [255, 255, 255, 255]
    assert dress(look, "alpha", rgb, alpha).pixels[0, 0] == 0


def test_nothing_that_came_in_is_changed():
    rgb, alpha = scene()
    kept = rgb.copy(), alpha.copy()
    for behind in (WHITE, BlurBehind(), InpaintBehind()):
        dress(Look(behind, Crop(circle=True), SHADOW), "composite", rgb, alpha)
    assert np.array_equal(rgb, kept[0])
    assert np.array_equal(alpha, kept[1])


def test_a_composite_on_nothing_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="needs a background"):
        dress(Look(), "composite", *scene())
