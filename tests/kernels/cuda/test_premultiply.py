"""Colours times alpha and back on the device: whole numbers, so equal to the twin everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda import premultiply as op
from kernels.reference.premultiply import premultiply, unpremultiply
from tests.kernels.cuda.arrays import empty, get, put

SIZES_HW = [(1, 1), (1, 2), (1, 3), (53, 37), (203, 317)]
BOTH = [(op.premultiply, premultiply), (op.unpremultiply, unpremultiply)]


def on_device(device, stream, launcher, rgba, *, in_place=False):
    source = put(device, rgba)
    target = source if in_place else empty(device, rgba.nbytes)
    launcher(
        device,
        stream,
        source=source.address,
        target=target.address,
        width=rgba.shape[1],
        height=rgba.shape[0],
    )
    device.synchronize(stream)
    return get(device, target, rgba.shape, np.uint8)


def every_color_at_every_alpha():
    color, alpha = np.meshgrid(np.arange(256), np.arange(256))
    return np.dstack([color, color, 255 - color, alpha]).astype(np.uint8)


@pytest.mark.parametrize(("launcher", "twin"), BOTH)
@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_sizes_that_are_no_multiple_of_a_thread_agree_exactly(
    device, stream, launcher, twin, size_hw
):
    rgba = np.random.default_rng(1).integers(0, 256, (*size_hw, 4), np.uint8)
    assert np.array_equal(on_device(device, stream, launcher, rgba), twin(rgba))


@pytest.mark.parametrize(("launcher", "twin"), BOTH)
def test_every_colour_at_every_alpha_agrees_exactly(device, stream, launcher, twin):
    rgba = every_color_at_every_alpha()
    assert np.array_equal(on_device(device, stream, launcher, rgba), twin(rgba))


@pytest.mark.parametrize(("launcher", "twin"), BOTH)
def test_1080p_agrees_exactly_in_place(device, stream, launcher, twin):
    rgba = np.random.default_rng(2).integers(0, 256, (1080, 1920, 4), np.uint8)
    assert np.array_equal(on_device(device, stream, launcher, rgba, in_place=True), twin(rgba))


def test_the_twin_rounds_to_nearest():
    rgba = every_color_at_every_alpha()
    exact = rgba[..., :3] * (rgba[..., 3:] / 255)
    assert np.abs(premultiply(rgba)[..., :3] - exact).max() < 0.5


def test_what_was_multiplied_comes_back_within_half_a_step_of_its_alpha():
    rgba = every_color_at_every_alpha()
    back = unpremultiply(premultiply(rgba))
    error = np.abs(back[1:, :, :3].astype(float) - rgba[1:, :, :3])
    assert (error <= 127.5 / rgba[1:, :, 3:] + 0.5).all()
    assert not back[0, :, :3].any()


def test_multiplying_what_was_divided_changes_nothing():
    # Premultiplied pixels, colours not above alpha, survive straight alpha and back.
    rgba = every_color_at_every_alpha()
    rgba[..., :3] = np.minimum(rgba[..., :3], rgba[..., 3:])
    assert np.array_equal(premultiply(unpremultiply(rgba)), rgba)


@pytest.mark.parametrize("launcher", [op.premultiply, op.unpremultiply])
def test_no_pixels_are_refused(device, stream, launcher):
    with pytest.raises(ValueError, match="height is 0"):
        launcher(device, stream, source=16, target=16, width=4, height=0)
