"""Outlines of masks: filled by a rule of the test's own, and by OpenCV, they give the mask back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from server.codecs import polygons
from server.codecs.errors import ImageRejected
from server.codecs.polygons import Outline, simplified, trace


def filled(outlines: list[Outline], height: int, width: int) -> np.ndarray:
    """(H, W) bool: pixels from whose middle an odd number of sides lies to the left."""
    crossed = np.zeros((height, width + 1), int)
    for outline in outlines:
        points = outline.points.astype(float)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            low, high = min(y0, y1), max(y0, y1)
            rows = np.arange(int(np.ceil(low - 0.5)), int(np.ceil(high - 0.5)))
            if rows.size:
                x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                np.add.at(crossed, (rows, np.clip(np.ceil(x - 0.5).astype(int), 0, width)), 1)
    return np.cumsum(crossed, axis=1)[:, :width] % 2 == 1


def area(points: np.ndarray) -> float:
    """Above 0 where the outline runs clockwise as seen."""
    x, y = points.astype(float).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def blobs(height: int, width: int, sigma: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height, width))
    return (cv2.GaussianBlur(noise, (0, 0), sigma) > 0.5).astype(np.uint8)


def subject(height: int = 480, width: int = 640) -> np.ndarray:
    """A round body with a hole, a slanted limb, a thin hair and a separate piece."""
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (300, 250), 160, 255, -1)
    cv2.circle(mask, (330, 230), 50, 0, -1)
    cv2.ellipse(mask, (480, 300), (120, 30), -25, 0, 360, 255, -1)
    cv2.line(mask, (210, 140), (120, 20), 255, 2)
    cv2.ellipse(mask, (80, 400), (50, 30), 40, 0, 360, 255, -1)
    return mask


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (9, 1), (2, 2), (5, 9), (40, 50)])
@pytest.mark.parametrize("sigma", [0.1, 0.6, 3.0])
def test_with_all_their_corners_outlines_are_the_mask_itself(monkeypatch, size_hw, sigma):
    monkeypatch.setattr(polygons, "SMALL_CORNERS", polygons.MAX_CORNERS)
    mask = blobs(*size_hw, sigma)
    assert np.array_equal(filled(trace(mask), *size_hw), mask > 0)


@pytest.mark.parametrize("mask", [subject(), blobs(300, 400, 10), blobs(300, 400, 25, 1)])
def test_with_fewer_points_the_mask_is_nearly_the_same(mask):
    outlines = trace(mask)
    back = filled(outlines, *mask.shape)
    assert iou(back, mask > 0) > 0.99
    assert abs(back.sum() - (mask > 0).sum()) < 0.002 * (mask > 0).sum()
    corners = sum(len(points) for points in cv2.findContours(mask, cv2.RETR_CCOMP, 1)[0])
    assert sum(len(outline.points) for outline in outlines) < corners / 3


def test_opencv_fills_them_to_the_same_mask():
    mask = subject()
    # OpenCV paints the rim's pixels too: on a grid 16 times as fine that is less than a tenth.
    fine = np.zeros((480 * 16, 640 * 16), np.uint8)
    cv2.fillPoly(fine, [np.int32(outline.points * 16) for outline in trace(mask)], 255)
    back = cv2.resize(fine, (640, 480), interpolation=cv2.INTER_AREA) >= 128
    assert iou(back, mask > 0) > 0.99


def test_no_side_is_further_than_a_pixel_from_the_masks_outline():
    mask = subject()
    rim = np.ones((481, 641), np.uint8)  # corners of pixels; 0 on the outline
    inside = np.pad(mask > 0, 1)
    cracks = [inside[1:, 1:], inside[1:, :-1], inside[:-1, 1:], inside[:-1, :-1]]
    rim[np.any([crack != cracks[0] for crack in cracks[1:]], axis=0)] = 0
    distance = cv2.distanceTransform(rim, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    for outline in trace(mask):
        ends = np.roll(outline.points, -1, axis=0)
        for share in np.linspace(0, 1, 20):
            x, y = (outline.points * (1 - share) + ends * share).T.astype(np.float32)
            away = cv2.remap(distance, x[None], y[None], cv2.INTER_LINEAR)
            assert away.max() <= 1.0


def test_a_rectangle_has_four_points_on_the_corners_of_its_pixels():
    mask = np.zeros((20, 30), np.uint8)
    mask[4:15, 7:22] = 1
    (outline,) = trace(mask)
    assert sorted(outline.points.tolist()) == [[7, 4], [7, 15], [22, 4], [22, 15]]


def test_a_slope_of_stairs_is_one_straight_side():
    mask = np.tril(np.ones((60, 60), np.uint8))
    (outline,) = trace(mask)
    assert len(outline.points) <= 6
    assert area(outline.points) == pytest.approx(mask.sum(), rel=0.001)


def test_outer_outlines_run_clockwise_largest_first_and_holes_follow_theirs():
    outlines = trace(subject())
    outer = [n for n, outline in enumerate(outlines) if not outline.is_hole]
    sizes = [area(outlines[n].points) for n in outer]
    assert len(outer) == 2
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) > 0
    for n, outline in enumerate(outlines):
        assert outline.is_hole == (area(outline.points) < 0)
        assert outline.outer == max(place for place in outer if place <= n)


def test_a_hole_belongs_to_the_piece_that_surrounds_it():
    mask = np.zeros((100, 100), np.uint8)
    for side, value in [(5, 1), (15, 0), (25, 1), (35, 0)]:  # rings within rings
        mask[side:-side, side:-side] = value
    kinds = [(outline.is_hole, outline.outer) for outline in trace(mask)]
    assert kinds == [(False, 0), (True, 0), (False, 2), (True, 2)]


def test_pixels_that_touch_at_a_corner_are_one_piece_either_way():
    for mask in (np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8)[::-1].copy()):
        (outline,) = trace(mask)
        assert area(outline.points) == 2


def test_a_thin_shape_keeps_all_its_corners():
    points = np.array([[0, 0]] + [[n // 2 + 1, (n + 1) // 2] for n in range(60)] + [[0, 30]])
    assert simplified(points, 0.5).tolist() == points.tolist()


def test_an_empty_mask_has_no_outlines():
    assert trace(np.zeros((5, 5), np.uint8)) == []


@pytest.mark.parametrize("bound", ["MAX_CORNERS", "MAX_OUTLINES"])
def test_a_mask_that_is_all_edges_is_refused_with_what_to_do(monkeypatch, bound):
    monkeypatch.setattr(polygons, bound, 50)
    with pytest.raises(ImageRejected, match=r"hold up to 50: remove specks .* OUTPUT_MASK_RLE"):
        trace(blobs(200, 200, 0.1))
