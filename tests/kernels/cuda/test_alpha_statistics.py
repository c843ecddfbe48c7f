"""What is counted of an alpha on the device, against the twin and the CPU path."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import cpu, reference
from kernels.cuda.alpha_statistics import alpha_statistics
from kernels.statistics import STATISTICS, launch_shape, read_statistics
from tests.kernels.cuda.arrays import empty, get, put


def subject(width, height, seed=4):
    """Noise in the middle, a soft ring of every level around it, nothing at the rim."""
    random = np.random.default_rng(seed)
    alpha = random.integers(0, 256, (height, width), np.uint8)
    rim_x, rim_y = width // 5, height // 4
    alpha[:rim_y] = alpha[height - rim_y :] = 0
    alpha[:, :rim_x] = 5
    return alpha


def count(device, stream, alpha):
    memory, target = put(device, alpha), empty(device, STATISTICS.itemsize)
    height, width = alpha.shape
    size = {"width": width, "height": height}
    alpha_statistics(device, stream, alpha=memory.address, target=target.address, **size)
    device.synchronize(stream)
    return read_statistics(get(device, target, (1,), STATISTICS), width, height)


def assert_same(counted, truth):
    assert counted.box == truth.box
    # Whole numbers here, a mean of rounded floats there.
    assert counted.coverage == pytest.approx(truth.coverage, rel=1e-12, abs=1e-15)
    assert counted.uncertainty == pytest.approx(truth.uncertainty, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 1), (1, 7), (37, 53), (317, 203), (1920, 1080)])
def test_counts_agree_with_the_twin_and_the_cpu_path(device, stream, size_wh):
    alpha = subject(*size_wh)
    counted = count(device, stream, alpha)
    assert_same(counted, reference.alpha_statistics(alpha))
    assert_same(counted, cpu.alpha_statistics(alpha))


@pytest.mark.parametrize("level", [0, 12, 13, 127, 128, 255])
def test_every_limit_lies_where_the_twin_has_it(device, stream, level):
    alpha = np.full((19, 23), level, np.uint8)
    assert_same(count(device, stream, alpha), reference.alpha_statistics(alpha))


@pytest.mark.parametrize("place", [(0, 0), (0, 52), (36, 0), (36, 52), (11, 3)])
def test_a_single_pixel_is_its_own_box(device, stream, place):
    alpha = np.zeros((37, 53), np.uint8)
    alpha[place] = 200
    row, column = place
    assert count(device, stream, alpha).box == (column, row, column + 1, row + 1)


def test_counts_begin_anew_for_each_image(device, stream):
    memory, target = put(device, subject(40, 30)), empty(device, STATISTICS.itemsize)
    for _ in range(2):
        alpha_statistics(
            device, stream, alpha=memory.address, target=target.address, width=40, height=30
        )
    device.synchronize(stream)
    counted = read_statistics(get(device, target, (1,), STATISTICS), 40, 30)
    assert_same(counted, reference.alpha_statistics(subject(40, 30)))


def test_sums_of_the_largest_image_fit_their_words():
    (blocks, _, _), (threads, _, _) = launch_shape(65_535, 65_535)
    rounds = -(-(65_535**2) // (4 * blocks * threads))
    assert 32 * 4 * rounds * 255**2 < 2**32


def test_the_struct_has_the_size_of_the_kernels():
    assert STATISTICS.itemsize == 64
