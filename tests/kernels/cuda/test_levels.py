"""Black level, white level and threshold on the device, against the twin, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.levels import levels, levels_table
from kernels.reference.levels import levels as twin
from tests.kernels.cuda.arrays import empty, get, put

SETTINGS = [
    {},
    {"black": 0.1},
    {"white": 0.9},
    {"black": 0.2, "white": 0.8},
    {"threshold": 0.5},
    {"black": 0.25, "white": 0.5, "threshold": 0.3},
    {"black": 0.05, "white": 0.95, "threshold": 1.0},
    {"threshold": 0.0},
]


def on_device(device, stream, alpha, **settings):
    height, width = alpha.shape
    source, target = put(device, alpha), empty(device, alpha.size)
    levels(
        device,
        stream,
        alpha=source.address,
        target=target.address,
        width=width,
        height=height,
        **settings,
    )
    device.synchronize(stream)
    return get(device, target, alpha.shape, np.uint8)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("size_hw", [(1, 1), (53, 37), (203, 317)])
def test_levels_agree_with_the_twin_exactly(device, stream, size_hw, settings):
    alpha = np.random.default_rng(1).integers(0, 256, size_hw, np.uint8)
    assert np.array_equal(on_device(device, stream, alpha, **settings), twin(alpha, **settings))


def test_levels_agree_with_the_twin_at_1080p(device, stream):
    alpha = np.random.default_rng(2).integers(0, 256, (1080, 1920), np.uint8)
    settings = {"black": 0.1, "white": 0.7}
    assert np.array_equal(on_device(device, stream, alpha, **settings), twin(alpha, **settings))


def test_levels_work_in_place_and_at_odd_addresses(device, stream):
    alpha = np.arange(1003, dtype=np.uint8)
    memory = put(device, alpha)
    at = memory.address + 3
    levels(device, stream, alpha=at, target=at, width=1000, height=1, white=0.5)
    device.synchronize(stream)
    after = get(device, memory, (1003,), np.uint8)
    assert np.array_equal(after[:3], alpha[:3])
    assert np.array_equal(after[3:], twin(alpha[3:], white=0.5))


def test_an_alpha_that_equals_a_level_as_the_wire_carries_it_counts_as_at_the_level():
    # A float 0.2 is a little more than 51 / 255 in double precision; users mean the same.
    assert levels_table(black=float(np.float32(0.2)))[51] == 0
    assert levels_table(threshold=float(np.float32(0.2)))[51] == 255
    assert levels_table(threshold=float(np.float32(0.2)))[50] == 0


def test_half_is_where_the_report_takes_the_subject_to_begin():
    assert levels_table(threshold=0.5).tolist() == [0] * 128 + [255] * 128


def test_between_the_levels_alpha_is_stretched_without_a_jump():
    table = levels_table(black=0.2, white=0.8).astype(int)
    assert table[51] == 0
    assert table[204] == 255
    assert np.diff(table).max() <= 2  # a slope of 1 / 0.6


def test_a_white_level_that_is_not_above_the_black_one_is_refused():
    with pytest.raises(ValueError, match=r"white level is 0\.4, black level 0\.5; white must"):
        levels_table(black=0.5, white=0.4)


def test_levels_of_no_pixels_are_refused(device, stream):
    with pytest.raises(ValueError, match="width is 0"):
        levels(device, stream, alpha=1, target=1, width=0, height=5)
