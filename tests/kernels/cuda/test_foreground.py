"""The subject's own colours on the device, against the twin.

Tolerance: one level, since means are made in float32.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.foreground import foreground, scratch_bytes
from kernels.image import PixelFormat, image_struct
from kernels.reference.composite import cutout
from kernels.reference.foreground import foreground as twin
from tests.kernels.cuda.arrays import empty, get, put
from tests.kernels.cuda.pictures import put_picture


def queue(device, stream, image, alpha, **settings):
    height, width = alpha.shape
    channels = settings.get("channels", 3)
    source, target = put(device, alpha), empty(device, channels * alpha.size)
    scratch = empty(device, scratch_bytes(width, height, settings.get("cell", 8)))
    foreground(
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
    return get(device, target, (height, width, channels), np.uint8)


def on_device(device, stream, rgb, alpha, **settings):
    height, width = alpha.shape
    memory = put(device, rgb)
    image = image_struct(((memory.address, 3 * width),), width, height, PixelFormat.RGB8)
    return queue(device, stream, image, alpha, **settings)


def soft_disc(height, width, softness=8):
    y, x = np.mgrid[0:height, 0:width]
    far = np.hypot(x - 0.45 * width, y - 0.55 * height) - 0.3 * min(height, width)
    return np.rint(255 * np.clip(0.5 - far / softness, 0, 1)).astype(np.uint8)


def mixture(height, width):
    """A picture of a warm subject before a green wall, its alpha, the subject's true colours."""
    alpha = soft_disc(height, width)
    y, x = np.mgrid[0:height, 0:width]
    shade = 20 * np.sin(x / 23)[..., None] * np.cos(y / 31)[..., None]
    subject = np.array([190, 120, 80]) + shade
    behind = np.array([40, 170, 60]) - shade
    a = alpha[..., None] / 255
    return np.rint(a * subject + (1 - a) * behind).astype(np.uint8), alpha, subject


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 70), (70, 1), (5, 3), (53, 37), (203, 317)])
def test_foreground_agrees_with_the_twin_on_noise(device, stream, size_hw):
    random = np.random.default_rng(1)
    rgb = random.integers(0, 256, (*size_hw, 3), np.uint8)
    alpha = random.integers(0, 256, size_hw, np.uint8)
    made, truth = on_device(device, stream, rgb, alpha), twin(rgb, alpha)
    assert np.abs(made.astype(int) - truth).max() <= 1
    assert (made != truth).mean() < 0.01


@pytest.mark.parametrize(
    "settings", [{"strength": 0.4}, {"strength": 0.0}, {"cell": 3}, {"cell": 16}, {"cell": 1}]
)
def test_foreground_agrees_with_the_twin_at_every_setting(device, stream, settings):
    rgb, alpha, _ = mixture(103, 157)
    made, truth = on_device(device, stream, rgb, alpha, **settings), twin(rgb, alpha, **settings)
    assert np.abs(made.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_every_picture_format_is_read_in_place(device, stream, pixel_format, channels):
    picture = put_picture(device, 38, 26, pixel_format, padding=5)
    alpha = soft_disc(26, 38)
    made = queue(device, stream, picture.struct, alpha, channels=channels)
    visible = alpha[..., None] > 0 if channels == 4 else True
    # Video colours are not whole numbers; the twin takes them rounded.
    wrong = np.abs(made[..., :3].astype(int) - twin(picture.rgb_u8, alpha)) * visible
    assert wrong.max() <= 2


def test_four_channels_are_the_cutout_of_those_colours(device, stream):
    rgb, alpha, _ = mixture(61, 83)
    made = on_device(device, stream, rgb, alpha, channels=4)
    truth = cutout(twin(rgb, alpha), alpha)
    assert np.array_equal(made[..., 3], alpha)
    assert np.abs(made.astype(int) - truth).max() <= 1
    assert (made[alpha == 0] == 0).all()


def test_only_pixels_that_are_partly_subject_change(device, stream):
    rgb = np.random.default_rng(2).integers(0, 256, (90, 120, 3), np.uint8)
    alpha = soft_disc(90, 120)
    sure = (alpha == 0) | (alpha == 255)
    made = on_device(device, stream, rgb, alpha)
    assert np.array_equal(made[sure], rgb[sure])
    assert (made[~sure] != rgb[~sure]).any()


def test_the_old_background_leaves_the_edge(device, stream):
    rgb, alpha, subject = mixture(120, 160)
    band = (alpha > 25) & (alpha < 230)
    made = on_device(device, stream, rgb, alpha)
    before = np.abs(rgb - subject)[band].mean()
    after = np.abs(made - subject)[band].mean()
    assert after < 0.2 * before


def test_a_picture_without_a_band_comes_out_as_it_is_at_1080p(device, stream):
    rgb = np.random.default_rng(3).integers(0, 256, (1080, 1920, 3), np.uint8)
    alpha = np.zeros((1080, 1920), np.uint8)
    alpha[:, 700:] = 255
    assert np.array_equal(on_device(device, stream, rgb, alpha), rgb)


def test_two_channels_are_refused(device, stream):
    with pytest.raises(ValueError, match="channels is 2; allowed are 3"):
        foreground(
            device,
            stream,
            image=np.zeros(1),
            alpha=1,
            target=2,
            scratch=3,
            width=4,
            height=4,
            channels=2,
        )


@pytest.mark.parametrize("size_hw", [(30, 1920), (1080, 30)])
def test_strips_of_1080p_agree_with_the_twin(device, stream, size_hw):
    rgb, alpha, _ = mixture(*size_hw)
    made, truth = on_device(device, stream, rgb, alpha), twin(rgb, alpha)
    assert np.abs(made.astype(int) - truth).max() <= 1
