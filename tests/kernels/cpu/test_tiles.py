"""Tiles: every touched pixel lies in one, and what is gathered comes back where it was."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu.tiles import core, gather, parts, scatter, touched


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (70, 130), (63, 5)])
def test_the_tiles_of_a_mask_are_those_with_a_pixel_in_them(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(2).integers(0, 400, size) // 399
    seen = set(touched(mask.astype(np.uint8), 16))
    assert seen == {(y // 16 * 16, x // 16 * 16) for y, x in np.argwhere(mask)}


def test_what_is_gathered_with_an_apron_comes_back_where_it_was() -> None:
    plane = np.random.default_rng(2).integers(1, 256, (50, 70, 3), np.uint8)
    corners = touched(np.ones((50, 70), np.uint8), 16)
    back = np.zeros_like(plane)
    for lot in parts(corners, 7):
        scatter(core(gather(plane, lot, 16, apron=5), 5), lot, back)
    assert np.array_equal(back, plane)


def test_beyond_the_pictures_edge_a_tile_is_zero() -> None:
    stack = gather(np.ones((10, 10), np.uint8), [(0, 0)], 16, apron=2)
    assert stack.shape == (20, 20)
    assert stack.sum() == 100
    assert stack[2:12, 2:12].all()
