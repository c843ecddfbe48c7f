"""Which part of the source a crop shows."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from kernels.framing import Crop, Frame, Length, frame

BOX = (100, 50, 300, 150)  # 200 x 100
SOURCE = (400, 320)


def test_a_crop_without_wishes_is_tight():
    assert frame(Crop(), BOX, SOURCE) == Frame(100, 50, 200, 100, 200, 100)


def test_margins_are_pixels_or_per_cent_of_the_subjects_own_side():
    crop = Crop(
        margin_top=Length(10, "percent"),
        margin_left=Length(10, "percent"),
        margin_right=Length(7, "px"),
        margin_bottom=Length(2.5, "px"),
    )
    assert frame(crop, BOX, SOURCE) == Frame(80, 40, 227, 113, 227, 113)


def test_margins_may_reach_beyond_the_source():
    crop = Crop(margin_left=Length(150, "px"))
    assert frame(crop, BOX, SOURCE).left == -50


def test_an_aspect_grows_the_short_side_and_the_position_shares_what_was_added():
    assert frame(Crop(aspect=1.0), BOX, SOURCE) == Frame(100, 0, 200, 200, 200, 200)
    assert frame(Crop(aspect=1.0, position=(0.5, 0.0)), BOX, SOURCE).top == 50
    assert frame(Crop(aspect=1.0, position=(0.5, 1.0)), BOX, SOURCE).top == -50


def test_a_canvas_decides_aspect_and_size():
    assert frame(Crop(canvas_width=600, canvas_height=400), BOX, SOURCE) == Frame(
        100, 33, 200, 133, 600, 400
    )


def test_the_canvas_side_that_was_not_given_follows():
    assert frame(Crop(canvas_width=50), BOX, SOURCE)[4:] == (50, 25)
    assert frame(Crop(canvas_height=50), BOX, SOURCE)[4:] == (100, 50)
    assert frame(Crop(canvas_width=160, aspect=16 / 9), BOX, SOURCE)[4:] == (160, 90)


def test_a_scale_gives_the_subjects_binding_side_its_share_of_the_canvas():
    at = frame(Crop(canvas_width=500, canvas_height=500, scale=0.8), BOX, SOURCE)
    assert at == Frame(75, -25, 250, 250, 500, 500)
    assert at.scale * 200 == 0.8 * 500


def test_a_scale_that_came_as_a_32_bit_float_means_the_same():
    assert frame(Crop(scale=0.800000011920929), BOX, SOURCE) == frame(Crop(scale=0.8), BOX, SOURCE)


@pytest.mark.parametrize(
    ("source_wh", "expected"),
    [
        ((400, 150), Frame(90, 30, 220, 120, 220, 120)),  # cut off below: no margin, at the bottom
        ((300, 400), Frame(80, 45, 220, 110, 220, 110)),  # on the right: at the right
        ((400, 400), Frame(90, 45, 220, 110, 220, 110)),
    ],
)
def test_a_subject_cut_off_by_the_source_stands_flush_with_the_results_edge(source_wh, expected):
    margins = {f"margin_{side}": Length(10, "px") for side in ("left", "right")}
    margins |= {f"margin_{side}": Length(5, "percent") for side in ("top", "bottom")}
    crop = Crop(**margins, aspect=2.0 if source_wh[1] != 150 else 220 / 120, flush=True)
    assert frame(crop, BOX, source_wh) == expected


def test_flush_goes_before_position_and_not_without_an_edge():
    crop = Crop(aspect=1.0, position=(0.5, 0.0), flush=True)
    assert frame(crop, BOX, (400, 150)).top == -50  # its last row is the source's
    assert frame(crop, BOX, (400, 151)).top == 50
    assert frame(crop, BOX, SOURCE) == frame(replace(crop, flush=False), BOX, SOURCE)


def test_a_subject_cut_off_on_two_sides_fills_the_result_between_them():
    high = Crop(aspect=1.0, margin_left=Length(10, "percent"), flush=True)
    box = (100, 0, 300, 100)
    assert frame(high, box, (400, 100)) == Frame(150, 0, 100, 100, 100, 100)
    # Around most of the subject, and never further out than its margin.
    assert frame(high, box, (400, 100), (180.0, 60.0)).left == 130
    assert frame(high, box, (400, 100), (101.0, 60.0)).left == 80
    wide = Crop(aspect=4.0, flush=True)
    assert frame(wide, (0, 50, 200, 150), (200, 400)) == Frame(0, 75, 200, 50, 200, 50)
    # Where the aspect leaves room for all of it, nothing is cut.
    assert frame(wide, (100, 0, 300, 100), (400, 100)) == Frame(0, 0, 400, 100, 400, 100)
    scaled = Crop(aspect=1.0, scale=0.5, flush=True)
    assert frame(scaled, (100, 0, 300, 100), (400, 100))[2:4] == (400, 400)


def test_a_circle_alone_asks_for_a_square():
    assert frame(Crop(circle=True), BOX, SOURCE)[4:] == (200, 200)


def test_every_frame_holds_the_whole_subject():
    for aspect, position, scale in itertools.product(
        (0.1, 0.77, 1.0, 1.91, 10.0), (0.0, 0.3, 1.0), (None, 0.1, 0.77, 1.0)
    ):
        at = frame(
            Crop(aspect=aspect, position=(position, position), scale=scale), (3, 5, 10, 42), SOURCE
        )
        assert at.left <= 3
        assert at.top <= 5
        assert at.left + at.width >= 10
        assert at.top + at.height >= 42


def test_contradictions_are_refused_with_a_way_out():
    with pytest.raises(ValueError, match="leave out the aspect"):
        Crop(aspect=1.0, canvas_width=5, canvas_height=5)
    with pytest.raises(ValueError, match="leave out one of them"):
        Crop(scale=0.5, margin_top=Length(1, "px"))


def test_an_empty_box_is_refused():
    with pytest.raises(ValueError, match="at least one pixel"):
        frame(Crop(), (5, 5, 5, 9), SOURCE)


def test_a_subject_is_moved_and_keeps_its_size() -> None:
    # What is shown lies where the subject's corner comes to the place asked for.
    for position, left_top in (((0, 0), (100, 50)), ((1, 1), (-100, -170)), ((0.5, 0.5), (0, -60))):
        at = frame(Crop(keep_size=True, position=position), BOX, SOURCE)
        assert at == Frame(*left_top, *SOURCE, *SOURCE)


@pytest.mark.parametrize(
    "other",
    [{"margin_top": Length(1, "px")}, {"aspect": 1.0}, {"canvas_width": 9}, {"scale": 0.5}],
)
def test_a_kept_size_and_another_contradict_each_other(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="keep the source's size"):
        Crop(keep_size=True, **other)
