"""Masks as COCO's strings, read back by a decoder of their own."""

from __future__ import annotations

import numpy as np
import pytest

from server.codecs.coco_rle import encode_mask, run_lengths


def decode(counts: str, height: int, width: int) -> np.ndarray:
    """The mask, one character at a time as the format's description has it."""
    runs: list[int] = []
    at = 0
    while at < len(counts):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(counts[at]) - 48
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            shift += 5
            at += 1
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    return flat.reshape(width, height).T.astype(bool)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (50, 1), (17, 33), (480, 640)])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_any_mask_comes_back_as_it_was(size_hw, share):
    mask = (np.random.default_rng(5).random(size_hw) < share).astype(np.uint8) * 255
    assert np.array_equal(decode(encode_mask(mask), *size_hw), mask > 0)


def test_a_large_subject_comes_back_as_it_was():
    y, x = np.ogrid[:3000, :4000]
    mask = ((x - 2100) ** 2 + (y - 1400) ** 2 < 1000**2).astype(np.uint8)
    assert np.array_equal(decode(encode_mask(mask), 3000, 4000), mask > 0)


def test_runs_go_down_the_columns_and_begin_with_zeros():
    mask = np.array([[1, 0, 0], [1, 0, 1]], np.uint8)
    assert run_lengths(mask).tolist() == [0, 2, 3, 1]


# Worked out by hand: 16 needs a second group, as 5 bits with a sign end at 15; 6, 1, 40, 4, 5 and 1
# are written as 6, 1, 40 and then the differences 4 - 1, 5 - 40 and 1 - 4.
@pytest.mark.parametrize(
    ("runs", "counts"),
    [([0, 4], "04"), ([16], "`0"), ([6, 1, 40, 4, 5, 1], "61X13mNM")],
)
def test_the_strings_are_those_of_the_format(runs, counts):
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
    assert encode_mask(flat[:, None]) == counts


def test_a_view_is_read_rightly():
    mask = np.random.default_rng(6).integers(0, 2, (40, 60), np.uint8)
    assert encode_mask(mask[5:30, 7:44]) == encode_mask(mask[5:30, 7:44].copy())
