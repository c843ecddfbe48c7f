"""The network's alpha at the source's size on the device, against the twin and the CPU path."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import cpu, reference
from kernels.cuda.alpha_to_source import alpha_to_source
from kernels.letterbox import place
from tests.kernels.cuda.arrays import empty, get, put

SIZES = [(1, 1), (1, 300), (300, 1), (37, 53), (317, 203), (64, 48), (200, 31), (63, 47)]


def network_alpha(width=64, height=48):
    return np.random.default_rng(3).random((height, width), np.float32)


def run(device, stream, alpha, size_wh, *, fit="stretch", element="u8"):
    width, height = size_wh
    plane = put(device, alpha)
    bytes_a_pixel = 1 if element == "u8" else 4
    target = empty(device, width * height * bytes_a_pixel)
    alpha_to_source(
        device,
        stream,
        alpha=plane.address,
        plane_width=alpha.shape[1],
        at=place(size_wh, alpha.shape[::-1], fit),
        target=target.address,
        width=width,
        height=height,
        element=element,
    )
    device.synchronize(stream)
    dtype = np.uint8 if element == "u8" else np.float32
    return get(device, target, (height, width), dtype)


def exact(alpha, size_wh, fit):
    at = place(size_wh, alpha.shape[::-1], fit)
    inside = alpha[at.top : at.top + at.height, at.left : at.left + at.width]
    return reference.resize(inside.astype(np.float64), *size_wh)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size_wh", SIZES)
def test_alpha_of_any_size_agrees_with_the_twin(device, stream, size_wh, fit):
    alpha = network_alpha()
    result = run(device, stream, alpha, size_wh, fit=fit, element="f32")
    # Positions are exact; three float32 mixes of values up to 1.
    assert np.abs(result - exact(alpha, size_wh, fit)).max() < 5e-7


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size_wh", [*SIZES, (1920, 1080)])
def test_bytes_agree_with_the_twin_but_for_ties(device, stream, size_wh, fit):
    alpha = network_alpha()
    result = run(device, stream, alpha, size_wh, fit=fit)
    truth = reference.alpha_to_source(alpha, *size_wh, fit=fit)
    difference = np.abs(result.astype(int) - truth)
    # 1e-4 of a level separates the two before rounding: few pixels in 10,000 fall to either side.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size_wh", [(37, 53), (317, 203), (640, 480)])
def test_bytes_agree_with_the_cpu_path(device, stream, size_wh, fit):
    alpha = network_alpha()
    result = run(device, stream, alpha, size_wh, fit=fit)
    # The CPU path rounds to bytes before it resizes, with 11-bit weights: within one level.
    assert np.abs(result.astype(int) - cpu.alpha_to_source(alpha, *size_wh, fit=fit)).max() <= 1


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("size_wh", [(317, 203), (31, 17), (31, 203)])
def test_zero_and_one_stay_exact(device, stream, size_wh, level):
    result = run(device, stream, np.full((48, 64), level, np.float32), size_wh)
    assert (result == 255 * level).all()


def test_alpha_at_its_own_size_is_unchanged(device, stream):
    alpha = network_alpha()
    assert np.array_equal(run(device, stream, alpha, (64, 48), element="f32"), alpha)


def test_a_source_without_pixels_is_refused(device, stream):
    with pytest.raises(ValueError, match="width is 0"):
        alpha_to_source(
            device,
            stream,
            alpha=0,
            plane_width=8,
            at=place((8, 8), (8, 8), "stretch"),
            target=0,
            width=0,
            height=8,
        )
