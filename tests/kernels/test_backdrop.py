"""Where a background lies behind the canvas."""

from __future__ import annotations

import pytest

from kernels.backdrop import Backdrop, lay


def test_a_wide_background_covers_a_square_canvas_and_is_cut_at_its_sides():
    assert lay((200, 100), (50, 50), "cover") == Backdrop(-25, 0, 100, 50, False)


def test_a_position_of_0_keeps_the_left_and_of_1_the_right():
    assert lay((200, 100), (50, 50), "cover", (0.0, 0.5)).left == 0
    assert lay((200, 100), (50, 50), "cover", (1.0, 0.5)).left == -50


def test_a_wide_background_is_contained_with_room_above_and_below():
    assert lay((200, 100), (50, 50), "contain") == Backdrop(0, 13, 50, 25, False)


def test_a_thin_background_is_contained_with_at_least_one_column():
    assert lay((1, 1000), (50, 50), "contain").width == 1


def test_a_tile_keeps_its_size_and_is_centred():
    assert lay((30, 20), (100, 50), "tile") == Backdrop(35, 15, 30, 20, True)


def test_a_stretched_background_is_the_canvas():
    assert lay((3, 2), (100, 50), "stretch", (0.1, 0.9)) == Backdrop(0, 0, 100, 50, False)


@pytest.mark.parametrize("fit", ["cover", "contain"])
def test_a_background_of_the_canvas_shape_fills_it_exactly(fit):
    assert lay((300, 200), (150, 100), fit) == Backdrop(0, 0, 150, 100, False)


@pytest.mark.parametrize("background_wh", [(1, 1), (7, 3), (3, 7), (1000, 999), (640, 480)])
def test_cover_leaves_no_gap_at_any_position(background_wh):
    for position in (0.0, 0.37, 0.5, 1.0):
        at = lay(background_wh, (123, 77), "cover", (position, position))
        assert at.left <= 0 <= at.left + at.width - 123
        assert at.top <= 0 <= at.top + at.height - 77


def test_what_is_not_allowed_is_refused():
    with pytest.raises(ValueError, match=r"position is 1\.5; allowed is 0 to 1"):
        lay((1, 1), (1, 1), "cover", (1.5, 0.5))
    with pytest.raises(ValueError, match="fit is 'fill'; allowed are 'cover'"):
        lay((1, 1), (1, 1), "fill")
    with pytest.raises(ValueError, match="is 0; it must be at least 1"):
        lay((0, 1), (1, 1), "cover")
