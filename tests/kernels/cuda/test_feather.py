"""A Gaussian blur of any width on the device, against the twin.

Tolerance: one level. Results are rounded once; the cut at four sigma and the cells' spline change
less than 0.1 of a level before that.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.feather import feather, plan, scratch_bytes
from kernels.reference.feather import feather as twin
from tests.kernels.cuda.arrays import empty, get, put

EVERY_SCALE = [0, 0.1, 0.5, 1, 2.3, 3.99, 4, 6.5, 7.99, 8, 15, 20, 33, 63, 65, 100]


def on_device(device, stream, alpha, sigma):
    height, width = alpha.shape
    source, target = put(device, alpha), empty(device, alpha.size)
    scratch = empty(device, max(1, scratch_bytes(width, height, sigma)))
    feather(
        device,
        stream,
        alpha=source.address,
        target=target.address,
        scratch=scratch.address,
        width=width,
        height=height,
        sigma=sigma,
    )
    device.synchronize(stream)
    return get(device, target, alpha.shape, np.uint8)


def hard_shapes(height, width, seed=1):
    """Boxes that touch borders and one another, specks: nothing is harder for a blur by cells."""
    random = np.random.default_rng(seed)
    alpha = np.zeros((height, width), np.uint8)
    for _ in range(12):
        top, left = random.integers(0, height), random.integers(0, width)
        rows, columns = random.integers(1, 1 + height // 2), random.integers(1, 1 + width // 2)
        alpha[top : top + rows, left : left + columns] = random.choice([0, 128, 255, 255])
    return alpha


def worst(made, truth):
    return np.abs(made.astype(int) - truth).max()


@pytest.mark.parametrize("sigma", EVERY_SCALE)
def test_feather_agrees_with_the_twin(device, stream, sigma):
    alpha = hard_shapes(203, 317)
    assert worst(on_device(device, stream, alpha, sigma), twin(alpha, sigma)) <= 1


@pytest.mark.parametrize("sigma", [0.8, 5, 9, 40, 100])
@pytest.mark.parametrize("size_hw", [(1, 1), (53, 37), (1, 90), (90, 1), (64, 128)])
def test_feather_agrees_with_the_twin_at_small_sizes(device, stream, size_hw, sigma):
    alpha = np.random.default_rng(5).integers(0, 256, size_hw, np.uint8)
    assert worst(on_device(device, stream, alpha, sigma), twin(alpha, sigma)) <= 1


@pytest.mark.parametrize("sigma", [1.5, 6, 30])
def test_nearly_all_pixels_are_exact(device, stream, sigma):
    alpha = hard_shapes(120, 180, seed=3)
    wrong = on_device(device, stream, alpha, sigma) != twin(alpha, sigma)
    assert wrong.mean() < 0.05  # ties, and values within 0.05 of one


@pytest.mark.parametrize("sigma", EVERY_SCALE)
@pytest.mark.parametrize("level", [0, 1, 255])
def test_a_flat_alpha_stays_exactly_flat(device, stream, level, sigma):
    alpha = np.full((45, 71), level, np.uint8)
    assert (on_device(device, stream, alpha, sigma) == level).all()


@pytest.mark.parametrize("edge", [1, 3, 8, 15])
def test_an_edge_close_to_the_border_is_not_smeared_by_large_cells(device, stream, edge):
    alpha = np.zeros((40, 90), np.uint8)
    alpha[:, :edge] = 255
    assert worst(on_device(device, stream, alpha, 18), twin(alpha, 18)) <= 1


def test_every_plan_fits_the_tile_and_keeps_the_variance():
    for sigma in [*np.linspace(0.1, 100, 400), 3.999, 4, 8, 16, 32, 64]:
        scale, cell_sigma = plan(sigma)
        assert cell_sigma < 4
        assert scale == 1 or cell_sigma > 1.8
        widened = ((scale / 2) ** 2 - 1) / 12 + 7 * scale**2 / 16 if scale > 1 else 0
        assert (cell_sigma * scale) ** 2 + widened == pytest.approx(sigma**2)


def test_sigma_beyond_100_is_refused(device, stream):
    with pytest.raises(ValueError, match="feather sigma is 101 pixels; allowed are 0 to 100"):
        feather(device, stream, alpha=1, target=1, scratch=1, width=5, height=5, sigma=101)


def test_feather_can_be_captured_and_replayed(device, stream):
    alpha = hard_shapes(60, 80)
    source, target = put(device, alpha), empty(device, alpha.size)
    scratch = empty(device, scratch_bytes(80, 60, 10))
    graph = device.capture(
        stream,
        lambda: feather(
            device,
            stream,
            alpha=source.address,
            target=target.address,
            scratch=scratch.address,
            width=80,
            height=60,
            sigma=10,
        ),
    )
    graph.launch(stream)
    device.synchronize(stream)
    assert worst(get(device, target, alpha.shape, np.uint8), twin(alpha, 10)) <= 1


@pytest.mark.parametrize("sigma", [5, 20, 60])
def test_feather_agrees_with_the_twin_in_the_last_corner_of_1080p(device, stream, sigma):
    alpha = hard_shapes(1080, 1920)
    margin = 4 * sigma
    corner = np.s_[-(60 + margin) :, -(90 + margin) :]
    truth = twin(alpha[corner], sigma)[margin:, margin:]
    assert worst(on_device(device, stream, alpha, sigma)[-60:, -90:], truth) <= 1
