"""Edges refined by the picture on the device, against the twin.

Tolerance: one level, since the fit is solved in float32; sums are whole numbers in both.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.guided_refine import guided_refine, scratch_bytes
from kernels.image import PixelFormat, image_struct
from kernels.reference.guided_refine import guided_refine as twin
from tests.kernels.cuda.arrays import empty, get, put
from tests.kernels.cuda.pictures import put_picture


def queue(device, stream, image, alpha, **settings):
    height, width = alpha.shape
    source, target = put(device, alpha), empty(device, alpha.size)
    scratch = empty(device, scratch_bytes(width, height, settings.get("scale", 4)))
    guided_refine(
        device,
        stream,
        image=image,
        alpha=source.address,
        target=target.address,
        scratch=scratch.address,
        width=width,
        height=height,
        **settings,
    )
    device.synchronize(stream)
    return get(device, target, alpha.shape, np.uint8)


def on_device(device, stream, rgb, alpha, **settings):
    height, width = alpha.shape
    memory = put(device, rgb)
    image = image_struct(((memory.address, 3 * width),), width, height, PixelFormat.RGB8)
    return queue(device, stream, image, alpha, **settings)


def blobs(height, width, seed=1):
    """A soft alpha with flat parts, as networks make them."""
    y, x = np.mgrid[0:height, 0:width]
    random = np.random.default_rng(seed)
    far = np.full((height, width), 1e9)
    for _ in range(3):
        cx, cy = random.uniform(0, width), random.uniform(0, height)
        radius = random.uniform(0.1, 0.3) * min(height, width)
        far = np.minimum(far, np.hypot(x - cx, y - cy) - radius)
    return np.rint(255 * np.clip(0.5 - far / 12, 0, 1)).astype(np.uint8)


def scene(height, width, seed=2):
    """A shaded subject on a shaded background, its true alpha, and a network's guess at it."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    angle = np.arctan2(y - height / 2, x - width / 2)
    radius = 0.3 * height * (1 + 0.15 * np.sin(9 * angle))
    truth = np.clip(0.5 - (np.hypot(x - width / 2, y - height / 2) - radius), 0, 1)
    shade = 12 * np.sin(x / 9)[..., None] * np.cos(y / 13)[..., None]
    subject, behind = np.array([180, 120, 90]) + shade, np.array([90, 120, 150]) - shade
    rgb = truth[..., None] * subject + (1 - truth[..., None]) * behind
    rgb += random.normal(0, 2, rgb.shape)
    shares = np.exp(-(np.arange(-14, 15) ** 2) / (2 * 5.0**2))
    shares /= shares.sum()
    guess = truth
    for axis in (0, 1):
        guess = np.apply_along_axis(lambda row: np.convolve(row, shares, "same"), axis, guess)
    return (
        np.clip(rgb, 0, 255).astype(np.uint8),
        np.rint(255 * truth).astype(np.uint8),
        np.rint(255 * guess).astype(np.uint8),
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"radius": 1, "scale": 2},
        {"radius": 8, "scale": 3, "contrast": 0},
        {"radius": 4, "scale": 1, "epsilon": 1e-3},
        {"radius": 3, "scale": 8, "epsilon": 1e-5},
    ],
)
def test_refinement_agrees_with_the_twin(device, stream, settings):
    rgb, _, guess = scene(103, 157)
    made, truth = on_device(device, stream, rgb, guess, **settings), twin(rgb, guess, **settings)
    assert np.abs(made.astype(int) - truth).max() <= 1
    assert (made != truth).mean() < 0.01


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 60), (60, 1), (5, 3), (53, 37), (203, 317)])
def test_refinement_agrees_with_the_twin_at_odd_sizes(device, stream, size_hw):
    rgb = np.random.default_rng(3).integers(0, 256, (*size_hw, 3), np.uint8)
    alpha = blobs(*size_hw)
    made, truth = on_device(device, stream, rgb, alpha), twin(rgb, alpha)
    assert np.abs(made.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_every_picture_format_is_read_in_place(device, stream, pixel_format):
    picture = put_picture(device, 38, 26, pixel_format, padding=5)
    alpha = blobs(26, 38)
    made = queue(device, stream, picture.struct, alpha)
    # Video colours are not whole numbers; the twin takes them rounded.
    assert np.abs(made.astype(int) - twin(picture.rgb_u8, alpha)).max() <= 2


@pytest.mark.parametrize("level", [0, 255])
def test_a_flat_alpha_stays_exactly_as_it_was(device, stream, level):
    rgb = np.random.default_rng(4).integers(0, 256, (50, 70, 3), np.uint8)
    alpha = np.full((50, 70), level, np.uint8)
    assert (on_device(device, stream, rgb, alpha) == level).all()


def test_only_pixels_near_an_edge_can_change(device, stream):
    rgb = np.random.default_rng(5).integers(0, 256, (120, 160, 3), np.uint8)
    alpha = np.zeros((120, 160), np.uint8)
    alpha[:, 80:] = 255
    made = on_device(device, stream, rgb, alpha, radius=3, scale=4)
    reach = (2 * 3 + 1) * 4
    assert (made[:, : 80 - reach] == 0).all()
    assert (made[:, 80 + reach :] == 255).all()
    assert (made[:, 80 - 8 : 80 + 8] != alpha[:, 80 - 8 : 80 + 8]).any()


def test_refinement_brings_a_blurred_alpha_closer_to_the_truth(device, stream):
    rgb, truth, guess = scene(180, 240)
    made = on_device(device, stream, rgb, guess)
    before = np.abs(guess.astype(int) - truth).mean()
    after = np.abs(made.astype(int) - truth).mean()
    assert after < 0.6 * before


def test_refinement_works_in_place(device, stream):
    rgb, _, guess = scene(61, 83)
    pixels, memory = put(device, rgb), put(device, guess)
    scratch = empty(device, scratch_bytes(83, 61))
    guided_refine(
        device,
        stream,
        image=image_struct(((pixels.address, 249),), 83, 61, PixelFormat.RGB8),
        alpha=memory.address,
        target=memory.address,
        scratch=scratch.address,
        width=83,
        height=61,
    )
    device.synchronize(stream)
    made = get(device, memory, guess.shape, np.uint8)
    assert np.abs(made.astype(int) - twin(rgb, guess)).max() <= 1


def test_a_window_beyond_the_tile_is_refused(device, stream):
    with pytest.raises(ValueError, match="scale is 4, radius 9; allowed are 1 to 32 pixels"):
        guided_refine(
            device,
            stream,
            image=np.zeros(1),
            alpha=1,
            target=2,
            scratch=3,
            width=4,
            height=4,
            radius=9,
        )


@pytest.mark.parametrize("size_hw", [(40, 1920), (1080, 40)])
def test_strips_of_1080p_agree_with_the_twin(device, stream, size_hw):
    rgb = np.random.default_rng(6).integers(0, 256, (*size_hw, 3), np.uint8)
    alpha = blobs(*size_hw)
    made, truth = on_device(device, stream, rgb, alpha), twin(rgb, alpha)
    assert np.abs(made.astype(int) - truth).max() <= 1


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"epsilon": 0}, "epsilon is 0; it must be above 0"),
        ({"epsilon": -1e-4}, "epsilon is -0.0001; it must be above 0"),
        ({"epsilon": float("nan")}, "epsilon is nan; it must be above 0"),
        ({"contrast": 0.5}, "contrast is 0.5; allowed are 0 to below 0.5"),
        ({"contrast": -0.1}, "contrast is -0.1; allowed are 0 to below 0.5"),
    ],
)
def test_settings_that_would_divide_by_zero_are_refused(device, stream, setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        guided_refine(
            device,
            stream,
            image=np.zeros(1),
            alpha=1,
            target=2,
            scratch=3,
            width=4,
            height=4,
            **setting,
        )
