"""Boxes: every marked pixel lies in exactly one, and a box knows its place in a larger one."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu.tiles import Box, boxes, touched


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (70, 130), (63, 5)])
def test_every_marked_pixel_lies_in_one_box_and_every_tile_of_a_box_has_one(
    size: tuple[int, int],
) -> None:
    mask = (np.random.default_rng(2).integers(0, 400, size) // 399).astype(np.uint8)
    held = np.zeros(size, int)
    for box in boxes(mask, 16):
        held[box.view] += 1
    assert held.max(initial=0) <= 1
    assert (held[mask > 0] == 1).all()
    tiles = {(y // 16, x // 16) for y, x in np.argwhere(held)}
    assert tiles == {(y // 16, x // 16) for y, x in np.argwhere(mask)}


def test_a_tile_tells_the_largest_value_in_it_even_when_the_pictures_edge_cuts_it() -> None:
    plane = np.zeros((5, 7), np.uint8)
    plane[4, 6], plane[1, 2] = 9, 200
    assert np.array_equal(touched(plane, 4), [[200, 0], [0, 9]])


def test_neighbouring_tiles_are_one_box_and_tiles_apart_are_two() -> None:
    mask = np.zeros((8, 40), np.uint8)
    mask[3, [2, 9, 33]] = 1
    assert boxes(mask, 8) == [Box(0, 8, 0, 16), Box(0, 8, 32, 40)]


def test_a_box_is_cut_at_the_pictures_edge_and_found_again_in_a_larger_one() -> None:
    picture = np.arange(10 * 12).reshape(10, 12)
    box = Box(0, 2, 2, 3).times(4, 10, 12)
    assert box == Box(0, 8, 8, 12)
    around = box.grown(3, 10, 12)
    assert around == Box(0, 10, 5, 12)
    assert np.array_equal(picture[around.view][box.inside(around)], picture[box.view])
    assert around.cut_to(box) == box
    assert box.size_hw == (8, 4)
