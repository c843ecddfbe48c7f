"""The cast of a screen taken out on the device, against the twin.

Tolerance: one level, where float32 and float64 round an exact half differently; at whole strength
and without luma everything is a whole number, and equal.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.despill import despill
from kernels.image import PixelFormat, YCbCr, image_struct
from kernels.reference.despill import despill as twin
from tests.kernels.cuda.arrays import empty, get, put


def random_rgb(height, width, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def on_device(device, stream, pixels, pixel_format=PixelFormat.RGB8, **settings):
    height, width, channels = pixels.shape
    source, target = put(device, pixels), empty(device, 3 * height * width)
    image = image_struct(((source.address, channels * width),), width, height, pixel_format)
    despill(
        device,
        stream,
        image=image,
        target=target.address,
        width=width,
        height=height,
        **settings,
    )
    device.synchronize(stream)
    return get(device, target, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    "choices",
    [
        {"screen": screen, "limit": limit, "keep_luma": keep_luma}
        for screen in ("green", "blue")
        for limit in ("max", "average")
        for keep_luma in (False, True)
    ],
)
@pytest.mark.parametrize("size_hw", [(1, 1), (53, 37), (203, 317), (64, 256)])
def test_despill_agrees_with_the_twin(device, stream, size_hw, choices):
    rgb = random_rgb(*size_hw)
    made = on_device(device, stream, rgb, strength=0.7, **choices)
    truth = twin(rgb, strength=0.7, **choices)
    wrong = made != truth
    assert np.abs(made.astype(int) - truth).max() <= 1
    assert wrong.mean() < 1e-3


def test_despill_at_1080p_and_whole_strength_is_exact(device, stream):
    rgb = random_rgb(1080, 1920)
    assert np.array_equal(on_device(device, stream, rgb, screen="green"), twin(rgb, "green"))


@pytest.mark.parametrize("width", [36, 37])
def test_red_and_blue_may_lie_the_other_way_round(device, stream, width):
    rgb = random_rgb(9, width)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    made = on_device(device, stream, bgr, PixelFormat.BGR8, screen="blue")
    assert np.array_equal(made, twin(rgb, "blue"))


def test_a_fourth_channel_is_passed_over(device, stream):
    rgba = np.random.default_rng(4).integers(0, 256, (9, 21, 4), np.uint8)
    made = on_device(device, stream, rgba, PixelFormat.RGBA8, screen="green")
    assert np.array_equal(made, twin(rgba[..., :3], "green"))


def test_video_frames_are_read_without_a_pass_of_their_own(device, stream):
    height, width = 18, 34
    luma = put(device, np.full((height, width), 120, np.uint8))
    chroma = put(device, np.tile(np.array([90, 100], np.uint8), (height // 2, width // 2)))
    target = empty(device, 3 * height * width)
    image = image_struct(
        ((luma.address, width), (chroma.address, width)),
        width,
        height,
        PixelFormat.NV12,
        ycbcr=YCbCr.of(0.299, 0.114, full_range=True),
    )
    despill(
        device,
        stream,
        image=image,
        target=target.address,
        width=width,
        height=height,
        screen="green",
    )
    device.synchronize(stream)
    made = get(device, target, (height, width, 3), np.uint8)
    red = 120 + 1.402 * (100 - 128)
    blue = 120 + 1.772 * (90 - 128)
    # Green was about 153; the larger of the others is what is left of it.
    expected = np.rint([red, max(red, blue), blue])
    assert np.abs(made.astype(int) - expected).max() <= 1


def test_despill_works_in_place(device, stream):
    rgb = random_rgb(20, 36)
    memory = put(device, rgb)
    image = image_struct(((memory.address, 108),), 36, 20, PixelFormat.RGB8)
    despill(
        device,
        stream,
        image=image,
        target=memory.address,
        width=36,
        height=20,
        screen="green",
    )
    device.synchronize(stream)
    assert np.array_equal(get(device, memory, rgb.shape, np.uint8), twin(rgb, "green"))


def test_strength_zero_changes_nothing(device, stream):
    rgb = random_rgb(31, 45)
    assert np.array_equal(on_device(device, stream, rgb, screen="green", strength=0), rgb)


def test_colours_that_are_not_the_screens_stay_as_they_are(device, stream):
    skin_yellow_white = np.array([[[224, 172, 140], [240, 230, 60], [255, 255, 255]]], np.uint8)
    made = on_device(device, stream, skin_yellow_white, screen="green")
    assert np.array_equal(made, skin_yellow_white)


def test_kept_luma_is_the_same_before_and_after(device, stream):
    rgb = np.random.default_rng(3).integers(0, 200, (40, 40, 3), np.uint8)  # room to be given back
    luma = np.array([0.2126, 0.7152, 0.0722])
    after = on_device(device, stream, rgb, screen="green", keep_luma=True)
    assert np.abs(after @ luma - rgb @ luma).max() < 0.6  # rounded to 8 bits


def test_a_hair_mixed_with_the_screen_comes_out_neutral(device, stream):
    hair, screen = np.array([60, 40, 30]), np.array([50, 180, 80])
    mixed = ((hair + screen) // 2).astype(np.uint8).reshape(1, 1, 3)
    red, green, blue = on_device(device, stream, mixed, screen="green")[0, 0]
    assert (red, green, blue) == (55, 55, 55)
