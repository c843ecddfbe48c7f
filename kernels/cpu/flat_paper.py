"""Whether a picture is drawn on paper of one colour, and which.

Called by `server.flat_background` for every single image, so a photo must cost next to nothing: its
border says no. What passes that is looked at as a whole. A drawing is made of few colours, each
over whole areas; a photo has shades and grain, even cut out and laid on white. Where in doubt it is
a photo: a network makes something of a drawing, flat paper nothing of a photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Rgb = tuple[int, int, int]

BORDER_NEAR = 2  # levels of the paper's colour that a border pixel may be off
BORDER_SURE = 0.98  # of the border that is paper, where nobody said that there is any
BORDER_FORCED = 0.5  # the same where somebody did
EXACT = 2  # levels that an untouched file's paper is off
LOSSY = 16  # levels that a lossy file's paper may be off near ink
LEVEL_LEFT = 0.002  # of the paper's pixels that two more levels of tolerance may add
LEAST_PAPER = 0.08  # of the picture
LEAST_INK_PX = 16
FLAT = 3  # levels between neighbours within one ink, besides the paper's tolerance
RINGING = 2  # times the tolerance, that a lossy file may leave here and there
PEAK_REACH_PX = 3  # around a line's middle, where nothing stands out more from the paper
PEAK = 0.92  # of what stands out most there
SOLID_REACH_PX = 2  # within an area everything as near is ink
AREAS = 0.12  # of the ink: with fewer solid pixels it is a drawing of nothing but lines
# A drawing with gradients: of the solid pixels, those that equal all their neighbours, and those
# where no channel bends by more than BEND levels. A photo has grain nearly everywhere; blown up it
# is as smooth as a gradient, but nowhere as even.
EVEN_AREAS = 0.3
SMOOTH_AREAS = 0.6
BEND = 2
BAND_ROWS = 256  # at a time: signed levels of a whole large picture would take 6 bytes a pixel
STANDS_OUT = 64  # levels between paper and half of the solid pixels: pale things are all even
COLOURS = 10  # of a drawing
SAME = (7, 10)  # levels within which it is one colour: of an untouched file, of a lossy one
FLAT_AREAS = (0.7, 0.65)  # of the solid pixels that equal their neighbours
COVERED_AREAS = (0.92, 0.88)  # of the solid pixels that have one of the colours
SHARP = (1, 3)  # levels around a colour that hold what is drawn with it
SHARP_AREAS = 0.65  # of what lies within three times as many: a shade has a third
SAMPLE = 20_000  # of the solid pixels, that are looked at for that
COVERED_LINES = 0.85  # of the lines' middles
EDGE = 24  # levels between neighbours where an edge may be
EXPLAINED_LINES = 0.88  # of the ink where there are only lines
EXPLAINED = (0.97, 0.93)  # of the ink: it has one of the colours, or is an edge between them
EDGE_CLEAR = 0.36  # of the 5 x 5 pixels around an edge that are paper or one of the colours


@dataclass(frozen=True, slots=True)
class Paper:
    """What a picture is drawn on."""

    color: Rgb
    tolerance: int  # levels, 0..255, that paper is off at most in any channel

    @property
    def is_lossy(self) -> bool:
        """True where the file's compression left its marks around the ink."""
        return self.tolerance > EXACT

    def distance(self, rgb_u8: U8) -> U8:
        """Levels by which the channel furthest from the paper is off, (H, W)."""
        red, green, blue = (
            cv2.absdiff(channel, np.full_like(channel, level))
            for channel, level in zip(cv2.split(rgb_u8), self.color, strict=True)
        )
        return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def find_paper(rgb_u8: U8, *, forced: bool = False) -> Paper | None:
    """The paper that a drawing is on; None where the picture is no drawing on flat paper.

    Args:
        rgb_u8: (H, W, 3).
        forced: somebody said that it is one: the border decides alone, and half of it is enough.
    """
    color, share = _border(rgb_u8)
    if share < (BORDER_FORCED if forced else BORDER_SURE):
        return None
    distance = Paper(color, 0).distance(rgb_u8)
    levels = np.bincount(distance.reshape(-1), minlength=256)
    paper = Paper(color, _tolerance(levels))
    if forced:
        return paper
    if paper.tolerance >= LOSSY:
        return None
    papers = int(levels[: paper.tolerance + 1].sum())
    if papers < LEAST_PAPER * distance.size or distance.size - papers < LEAST_INK_PX:
        return None
    return paper if _is_drawn(rgb_u8, distance, paper) else None


def _border(rgb_u8: U8) -> tuple[Rgb, float]:
    """The colour that most of the outermost pixels have, and how many of them do, 0..1."""
    rim = np.concatenate([rgb_u8[0], rgb_u8[-1], rgb_u8[:, 0], rgb_u8[:, -1]])
    code = _code(rim, 3)
    most = rim[code == np.bincount(code).argmax()]
    median = np.median(most, axis=0)
    share = float((np.abs(rim - median).max(axis=1) <= BORDER_NEAR).mean())
    red, green, blue = (round(float(level)) for level in median)
    return (red, green, blue), share


def _tolerance(levels: NDArray[np.int64]) -> int:
    """Levels that still are paper: up to where the next ones hold next to nothing, or more again,
    which is another colour.
    """
    for tolerance in range(EXACT, LOSSY):
        further = int(levels[tolerance + 1 : tolerance + 3].sum())
        before = int(levels[tolerance - 1 : tolerance + 1].sum())
        if further <= LEVEL_LEFT * int(levels[: tolerance + 1].sum()) or further > before:
            return tolerance
    return LOSSY


def sure_ink(rgb_u8: U8, distance: U8, paper: Paper) -> tuple[Mask, Mask]:
    """Pixels that are ink and nothing else, (H, W) each: areas of one colour; and with them the
    middles of lines, which stand out most from the paper.
    """
    ink = distance > (RINGING * paper.tolerance if paper.is_lossy else paper.tolerance)
    flat = ink & (colour_range(rgb_u8) <= FLAT + paper.tolerance)
    most = cv2.dilate(distance, square(PEAK_REACH_PX))
    return flat, flat | (ink & (distance >= cv2.convertScaleAbs(most, alpha=PEAK)))


def _is_drawn(rgb_u8: U8, distance: U8, paper: Paper) -> bool:
    kind = int(paper.is_lossy)
    ink = distance > paper.tolerance
    if not paper.is_lossy and _is_shaded_evenly(rgb_u8, distance, ink):
        return True
    flat, sure = sure_ink(rgb_u8, distance, paper)
    if not sure.any():
        return False  # nothing but a JPEG's ringing stands out
    colours, covered = _palette(rgb_u8[sure], SAME[kind])
    is_one = _has_one_of(rgb_u8, colours, SAME[kind])
    solid = cv2.erode(_as_u8(ink), square(SOLID_REACH_PX)) > 0
    solids = np.count_nonzero(solid)
    if solids >= AREAS * np.count_nonzero(ink):
        if np.count_nonzero(solid & flat) < FLAT_AREAS[kind] * solids:
            return False
        if np.count_nonzero(solid & is_one) < COVERED_AREAS[kind] * solids:
            return False
        if _sharpness(rgb_u8[solid], colours, SHARP[kind]) < SHARP_AREAS:
            return False
        least = EXPLAINED[kind]
    elif covered < COVERED_LINES:
        return False
    else:
        least = EXPLAINED_LINES
    clear = cv2.boxFilter(_as_u8(is_one | ~ink), -1, (5, 5)) >= 255 * EDGE_CLEAR
    explained = ink & (is_one | (clear & (colour_range(rgb_u8) > EDGE)))
    return bool(np.count_nonzero(explained) >= least * np.count_nonzero(ink))


def _is_shaded_evenly(rgb_u8: U8, distance: U8, ink: Mask) -> bool:
    """True for an untouched file whose ink is areas and gradients without any grain."""
    solid = cv2.erode(_as_u8(ink), square(SOLID_REACH_PX)) > 0
    solids = np.count_nonzero(solid)
    if solids < max(LEAST_INK_PX, AREAS * np.count_nonzero(ink)):
        return False
    if np.median(distance[solid]) < STANDS_OUT:
        return False
    if np.count_nonzero(solid & (colour_range(rgb_u8) == 0)) < EVEN_AREAS * solids:
        return False
    smooth = 0
    for top in range(0, ink.shape[0], BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        smooth += int(np.count_nonzero(solid[rows] & (_bends(rgb_u8, rows) <= BEND)))
    return smooth >= SMOOTH_AREAS * float(solids)


def _bends(rgb_u8: U8, rows: slice) -> U8:
    """Levels by which the channel that bends most, across or down, is off a straight line between
    its neighbours, in some of the rows.
    """
    before = 1 if rows.start else 0
    part = rgb_u8[rows.start - before : rows.stop + 1]
    line = np.array([[1, -2, 1]], np.float32)
    both = (
        cv2.convertScaleAbs(cv2.filter2D(part, cv2.CV_16S, way, borderType=cv2.BORDER_REPLICATE))
        for way in (line, line.T)
    )
    red, green, blue = cv2.split(cv2.max(*both))
    most = cv2.max(cv2.max(red, green), blue)
    return np.asarray(most[before : before + rows.stop - rows.start], np.uint8)


def _palette(pixels: U8, same: int) -> tuple[NDArray[np.int64], float]:
    """The most frequent colours of pixels, (N, 3), and the share that has one of them, 0..1."""
    code = _code(pixels, 2)
    counts = np.bincount(code)
    bins = np.flatnonzero(counts)
    centres = np.stack([bins >> 12, (bins >> 6) & 63, bins & 63], axis=1) * 4 + 2
    left = counts[bins].astype(np.float64)
    total = left.sum()
    chosen: list[int] = []
    while len(chosen) < COLOURS and left.max() > 0:
        most = int(left.argmax())
        chosen.append(most)
        left[np.abs(centres - centres[most]).max(axis=1) <= same] = 0
    return centres[chosen], float(1 - left.sum() / total)


def _sharpness(pixels: U8, colours: NDArray[np.int64], reach: int) -> float:
    """How much of what is near to one of the colours, among pixels (N, 3), equals it, 0..1."""
    some = pixels[:: max(1, len(pixels) // SAMPLE)].astype(np.int16)
    near = equal = 0
    for color in colours:
        around = some[np.abs(some - color).max(axis=1) <= 3 * reach + 2]
        if len(around):
            off = np.abs(around - np.median(around, axis=0)).max(axis=1)
            near += int(np.count_nonzero(off <= 3 * reach))
            equal += int(np.count_nonzero(off <= reach))
    return equal / near if near else 0.0


def _has_one_of(rgb_u8: U8, colours: NDArray[np.int64], same: int) -> Mask:
    """Where a pixel has one of the colours, (H, W)."""
    found = np.zeros(rgb_u8.shape[:2], np.uint8)
    for color in colours:
        low, high = (np.clip(color + reach, 0, 255) for reach in (-same, same))
        cv2.bitwise_or(found, cv2.inRange(rgb_u8, low, high), found)
    return found > 0


def colour_range(rgb_u8: U8) -> U8:
    """Levels between the 3 x 3 pixels around each, of the channel where they are most, (H, W)."""
    low, high = cv2.erode(rgb_u8, square(1)), cv2.dilate(rgb_u8, square(1))
    red, green, blue = cv2.split(cv2.subtract(high, low))
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def _as_u8(mask: Mask) -> U8:
    """255 where it holds."""
    return mask.astype(np.uint8) * np.uint8(255)


def square(reach: int) -> U8:
    """A neighbourhood for OpenCV's morphology."""
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _code(pixels: U8, shift: int) -> NDArray[np.int64]:
    """Colours without their last bits as one number."""
    bits = 8 - shift
    coarse = (pixels >> shift).astype(np.int64)
    code: NDArray[np.int64] = (coarse[:, 0] << 2 * bits) | (coarse[:, 1] << bits) | coarse[:, 2]
    return code
