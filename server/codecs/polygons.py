"""A binary mask as the outlines of its parts and of their holes.

Called by `server.codecs.encode` for polygons. Outlines are traced where pixels meet, on corners of
pixels, so that filling them gives the mask back to the pixel; then they lose the points that a
viewer would not miss.

    mask -> straight runs of its boundary -> linked, end to end -> closed outlines
         -> stairs to slopes -> fewer points

The subject lies on the right of every run, so outer outlines run clockwise as seen, holes against
it. Pixels that touch only at a corner belong together, as OpenCV and the COCO tools have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from server.codecs.errors import OutlineTooLong

# How far a side may leave the points between: with the half pixel of a stair, below one in all.
# At 0.5 a third of the points go, too, but ten times the pixels change.
TOLERANCE_PX = 0.3
# An outline whose area would change by more than this share keeps every corner: thin ones, mostly.
MAX_AREA_CHANGE = 0.02
SMALL_CORNERS = 32  # outlines of no more corners are left as they are
# Bounds of the work and of the answer: noise has an outline around every pixel. A photo's subject
# has some thousand corners and a few outlines; each of these takes about half a second.
MAX_CORNERS = 1 << 20
MAX_OUTLINES = 1 << 14

Points = NDArray[np.float32]


class Outline(NamedTuple):
    """One closed outline; its last point is joined to its first."""

    points: Points  # (N, 2) x, y in pixels, 0 the edge of the first column and row; N >= 3
    is_hole: bool
    outer: int  # index of the outer outline that a hole lies in; of an outer one its own


@dataclass(frozen=True, slots=True)
class _Runs:
    """Straight runs of the boundary along one axis, each from corner to corner."""

    line: NDArray[np.int64]  # where across the axis
    tail: NDArray[np.int64]  # where along it they begin, as they are walked
    head: NDArray[np.int64]  # where they end

    @property
    def is_ahead(self) -> NDArray[np.bool_]:
        """True for runs to the right, or down."""
        return self.head > self.tail


def trace(mask_u8: NDArray[np.uint8]) -> list[Outline]:
    """Outer outlines by area, the largest first, each followed by its holes.

    Even-odd filling of all of them gives the mask, but for a rim where stairs became slopes: no
    point is further than one pixel from the mask's own outline.

    Args:
        mask_u8: (H, W); what is not 0 belongs to the mask.

    Raises:
        OutlineTooLong: the mask is so ragged that the answer would be of no use.
    """
    left, top, width, height = cv2.boundingRect(mask_u8)
    if not width:
        return []
    part = mask_u8[top : top + height, left : left + width] != 0
    inside = np.zeros((height + 2, width + 2), np.int8)  # a rim of background all around
    inside[1:-1, 1:-1] = part
    across = _runs(inside, 1)
    down = _runs(np.ascontiguousarray(inside.T), -1)
    if across.line.size * 2 > MAX_CORNERS:
        raise OutlineTooLong(across.line.size * 2, "corners", MAX_CORNERS)
    rings = _rings(across, down, width + 1)
    if len(rings) > MAX_OUTLINES:
        raise OutlineTooLong(len(rings), "outlines", MAX_OUTLINES)
    corners = [_corners(across, ring) for ring in rings]
    areas = [_area(points) for points in corners]
    owners = _owners(part, across, rings, areas)
    order = sorted(range(len(rings)), key=lambda n: (-areas[owners[n]], owners[n], -areas[n]))
    place = {ring: at for at, ring in enumerate(order)}
    offset = np.array([left, top], np.float32)
    return [
        Outline(simplified(corners[n], areas[n]) + offset, areas[n] < 0, place[owners[n]])
        for n in order
    ]


def simplified(corners: NDArray[np.int64], area: float) -> Points:
    """An outline with fewer points, (N, 2) float32; N >= 3.

    Args:
        corners: (N, 2), each pair of neighbours on one line along an axis.
        area: within it, below 0 where it runs against the clock.
    """
    exact = corners.astype(np.float32)
    if len(corners) <= SMALL_CORNERS:
        return exact
    fewer = cv2.approxPolyDP(_slopes(corners), TOLERANCE_PX, closed=True)[:, 0]
    points = fewer.astype(np.float32)
    if len(points) < 3 or abs(_area(points) - area) > MAX_AREA_CHANGE * abs(area):
        return exact
    return points


def _runs(inside: NDArray[np.int8], ahead: int) -> _Runs:
    """Runs along the second axis.

    Args:
        inside: (h + 2, w + 2), 1 within the mask; the rim is 0.
        ahead: the step from one line of pixels to the next, 1 or -1, along whose boundary the
            subject lies on the right of who walks to higher places.
    """
    steps = inside[1:] - inside[:-1]  # (h + 1, w + 2), 0 in the first and last column
    at = np.flatnonzero(steps)
    step = steps.ravel()[at]
    begins = np.ones(at.size, bool)
    begins[1:] = (np.diff(at) != 1) | (step[1:] != step[:-1])
    ends = np.append(begins[1:], True)
    line, first = np.divmod(at[begins], steps.shape[1])
    last = at[ends] % steps.shape[1]
    low, high = first - 1, last  # without the rim; a pixel reaches from its place to the next
    is_ahead = step[begins] == ahead
    return _Runs(line, np.where(is_ahead, low, high), np.where(is_ahead, high, low))


def _rings(across: _Runs, down: _Runs, stride: int) -> list[list[int]]:
    """Outlines as indices of their runs across, in the order they are walked."""
    follows = _linked(
        across.line * stride + across.head,
        across.is_ahead,
        down.tail * stride + down.line,
        ~down.is_ahead,
    )
    after = _linked(
        down.head * stride + down.line,
        down.is_ahead,
        across.line * stride + across.tail,
        across.is_ahead,
    )
    succeeding = after[follows].tolist()
    rings = []
    seen = bytearray(len(succeeding))
    for start in range(len(succeeding)):
        if seen[start]:
            continue
        ring, run = [], start
        while not seen[run]:
            seen[run] = 1
            ring.append(run)
            run = succeeding[run]
        rings.append(ring)
    return rings


def _linked(
    heads: NDArray[np.int64],
    ahead: NDArray[np.bool_],
    tails: NDArray[np.int64],
    onward: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """For each run that ends at a corner, which of the other axis begins there.

    Where pixels touch at a corner two runs end and two begin; who comes `ahead` goes on `onward`,
    which keeps such pixels together.
    """
    linked = np.empty(heads.size, np.int64)
    linked[np.argsort(heads * 2 + ahead)] = np.argsort(tails * 2 + onward)
    return linked


def _corners(across: _Runs, ring: list[int]) -> NDArray[np.int64]:
    """Corners of an outline, (2 * runs, 2) x, y."""
    corners = np.empty((len(ring), 2, 2), np.int64)
    corners[:, 0, 0], corners[:, 1, 0] = across.tail[ring], across.head[ring]
    corners[:, :, 1] = across.line[ring][:, None]
    return corners.reshape(-1, 2)


def _area(points: NDArray[np.int64] | Points) -> float:
    """Within an outline, in pixels; below 0 where it runs against the clock, as holes do."""
    x, y = points.astype(np.float64).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def _owners(
    part: NDArray[np.bool_], across: _Runs, rings: list[list[int]], areas: list[float]
) -> list[int]:
    """For each outline the outer one of the same piece; of an outer one itself."""
    outer = [n for n, area in enumerate(areas) if area > 0]
    if len(outer) == 1 or len(outer) == len(rings):
        return outer * len(rings) if len(outer) == 1 else outer
    _, labels = cv2.connectedComponents(part.view(np.uint8), connectivity=8)
    first = np.array([ring[0] for ring in rings])
    rows = across.line[first] - ~across.is_ahead[first]  # of the subject's pixel beside the run
    pieces = labels[rows, np.minimum(across.tail[first], across.head[first])].tolist()
    of_piece = {pieces[n]: n for n in outer}
    return [of_piece[piece] for piece in pieces]


def _slopes(corners: NDArray[np.int64]) -> Points:
    """The outline with each single step of a stair replaced by its middle, (N, 2).

    A slope of 45 degrees becomes one straight line through the middle of its stairs, which neither
    grows nor shrinks the subject; a corner between longer runs stays where it is.
    """
    along = np.roll(corners, -1, axis=0) - corners  # run n goes from corner n to n + 1
    turn = np.sign(
        np.roll(along[:, 0], 1) * along[:, 1] - np.roll(along[:, 1], 1) * along[:, 0]
    )  # at corner n
    is_step = (np.abs(along).sum(axis=1) == 1) & (turn == -np.roll(turn, -1))
    middles = corners + along / 2
    stays = ~(is_step | np.roll(is_step, 1))
    points = np.stack([corners, middles], axis=1)
    kept = np.stack([stays, is_step], axis=1)
    slopes: Points = points[kept].astype(np.float32)
    return slopes
