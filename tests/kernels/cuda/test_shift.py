"""Growing and shrinking on the device, against the twin.

Tolerance: none for whole distances; one level for parts of a pixel, where float32 and float64
round an exact half differently.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.shift import scratch_bytes, shift, steps
from kernels.reference.shift import shift as twin
from tests.kernels.cuda.arrays import empty, get, put


def on_device(device, stream, alpha, pixels):
    height, width = alpha.shape
    source, target = put(device, alpha), empty(device, alpha.size)
    scratch = empty(device, max(1, scratch_bytes(width, height, pixels)))
    shift(
        device,
        stream,
        alpha=source.address,
        target=target.address,
        scratch=scratch.address,
        width=width,
        height=height,
        pixels=pixels,
    )
    device.synchronize(stream)
    return get(device, target, alpha.shape, np.uint8)


def specks(height, width, seed=1):
    """Lone soft and hard pixels: every offset of a disc shows."""
    random = np.random.default_rng(seed)
    alpha = np.zeros((height, width), np.uint8)
    for _ in range(max(1, height * width // 900)):
        at = random.integers(0, height), random.integers(0, width)
        alpha[at] = random.integers(1, 256)
    return alpha


def disc(side, radius):
    """A disc with an anti-aliased rim in the middle of a square."""
    y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
    return np.rint(255 * np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)).astype(np.uint8)


@pytest.mark.parametrize("pixels", [0, 1, 2, 3, 7, 14, 15, 16, 31, -1, -2, -5, -15, -40])
def test_whole_distances_agree_with_the_twin_exactly(device, stream, pixels):
    alpha = specks(103, 157)
    if pixels < 0:
        alpha = 255 - alpha
    assert np.array_equal(on_device(device, stream, alpha, pixels), twin(alpha, pixels))


@pytest.mark.parametrize("pixels", [0.3, 1.5, 2.75, 14.5, 15.25, 22.6, -0.4, -3.5, -17.9])
@pytest.mark.parametrize("size_hw", [(53, 37), (203, 317)])
def test_parts_of_a_pixel_agree_with_the_twin(device, stream, size_hw, pixels):
    alpha = np.random.default_rng(2).integers(0, 256, size_hw, np.uint8)
    alpha[:, : size_hw[1] // 2] = specks(size_hw[0], size_hw[1] // 2)
    made, truth = on_device(device, stream, alpha, pixels), twin(alpha, pixels)
    assert np.abs(made.astype(int) - truth).max() <= 1
    assert (made != truth).mean() < 0.01


@pytest.mark.parametrize("pixels", [100, -100, 2.5])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 70), (70, 1), (5, 3)])
def test_tiny_alphas_agree_with_the_twin(device, stream, size_hw, pixels):
    alpha = np.random.default_rng(3).integers(0, 256, size_hw, np.uint8)
    made, truth = on_device(device, stream, alpha, pixels), twin(alpha, pixels)
    assert np.abs(made.astype(int) - truth).max() <= 1


def test_flat_parts_keep_their_value_whatever_it_is(device, stream):
    alpha = np.full((150, 170), 77, np.uint8)
    assert (on_device(device, stream, alpha, 9.5) == 77).all()
    assert (on_device(device, stream, alpha, -9.5) == 77).all()


@pytest.mark.parametrize("pixels", [0.5, 2.25, 6, 19.75, -0.75, -4, -16.5])
def test_a_soft_ramp_moves_and_keeps_its_slope(device, stream, pixels):
    x = np.arange(160)
    ramp = np.clip(4.0 * (x - 50), 0, 252).astype(np.uint8)
    made = on_device(device, stream, np.tile(ramp, (9, 1)), pixels)
    moved = np.clip(4.0 * (x - 50 + pixels), 0, 252)
    # At the ramp's two ends the mean of two whole shifts rounds the corner off by under a step.
    corner = (np.abs(moved - 0) < 4) | (np.abs(moved - 252) < 4)
    assert np.abs(made[4] - moved)[~corner].max() <= 1
    assert np.abs(made[4] - moved).max() <= 4


@pytest.mark.parametrize("pixels", [1, 2, 3.5, 8, 15, -1, -2.5, -10])
def test_a_disc_grows_by_the_distance_in_every_direction(device, stream, pixels):
    side, radius = 121, 40
    made = on_device(device, stream, disc(side, radius), pixels)
    mean_radius = np.sqrt(made.sum() / 255 / np.pi)
    assert mean_radius == pytest.approx(radius + pixels, abs=0.3)
    y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
    distance = np.hypot(x, y)
    # The digital disc's own shape, and one pixel of soft rim.
    assert (made[distance < radius + pixels - 1.2] == 255).all()
    assert (made[distance > radius + pixels + 1.2] == 0).all()


def test_a_long_way_ends_within_two_per_cent(device, stream):
    made = on_device(device, stream, disc(261, 20), 100)
    y, x = np.mgrid[0:261, 0:261] - 130
    distance = np.hypot(x, y)
    assert (made[distance < 118] == 255).all()
    assert (made[distance > 122.5] == 0).all()


def test_steps_add_up_and_none_is_too_long():
    for distance in np.linspace(0, 100, 777):
        parts = steps(distance)
        assert sum(parts) == pytest.approx(distance)
        assert max(parts) <= 15
        assert len(parts) <= 7


def test_a_shift_beyond_100_is_refused(device, stream):
    with pytest.raises(ValueError, match="shift is -101 pixels; allowed are -100 to 100"):
        shift(device, stream, alpha=1, target=2, scratch=3, width=4, height=4, pixels=-101)


def test_shift_can_be_captured_and_replayed(device, stream):
    alpha = specks(40, 50)
    source, target = put(device, alpha), empty(device, alpha.size)
    scratch = empty(device, alpha.size)
    graph = device.capture(
        stream,
        lambda: shift(
            device,
            stream,
            alpha=source.address,
            target=target.address,
            scratch=scratch.address,
            width=50,
            height=40,
            pixels=20,
        ),
    )
    graph.launch(stream)
    device.synchronize(stream)
    assert np.array_equal(get(device, target, alpha.shape, np.uint8), twin(alpha, 20))


@pytest.mark.parametrize("pixels", [4, -20.5])
@pytest.mark.parametrize("size_hw", [(30, 1920), (1080, 30)])
def test_strips_of_1080p_agree_with_the_twin(device, stream, size_hw, pixels):
    alpha = specks(*size_hw)
    made, truth = on_device(device, stream, alpha, pixels), twin(alpha, pixels)
    assert np.abs(made.astype(int) - truth).max() <= 1
    assert (made != truth).mean() < 0.01
