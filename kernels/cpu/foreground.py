"""The subject's own colours: takes the old background out of edge pixels.

Called by `server.finishing`; twin of `kernels.reference.foreground`, which gives the method. The
wide means are taken once for the whole picture, on its cells; the rest happens in the boxes alone
that hold an edge.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.tiles import Box, boxes
from kernels.reference.foreground import COARSE_CELLS, FINE_PIXELS

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

TILE_CELLS = 6
# Networks leave a haze of 1 to 3 levels on half of a photo. A tile in which nothing is further from
# 0 and 255 than this has no edge, and un-mixing could change what is seen by that many levels.
# It takes four fifths of the tiles away.
HARDLY = 8
LITTLE = 1e-5  # less weight than one pixel with an alpha of 1 / 255 has in a sum


def foreground(
    rgb_u8: U8,
    alpha_u8: U8,
    strength: float = 1.0,
    *,
    cell: int = 8,
    shown_u8: U8 | None = None,
) -> U8:
    """Colours of the subject, (H, W, 3) uint8, within 2 levels of the twin's in every tile that
    holds an edge, and unchanged in the others, where alpha is a haze within 8 levels of 0 or 255:
    the twin un-mixes that too. Changed only where 0 < alpha < 255; the same array when there is no
    edge.

    Args:
        rgb_u8: (H, W, 3).
        alpha_u8: (H, W), as near to the truth as it is known.
        strength: 0 (nothing changes) to 1.
        cell: pixels along the side of the first round's cells.
        shown_u8: (H, W), another alpha under which the colours will be shown, feathered or grown:
            what it shows of the background gets the subject's colours too. None: `alpha_u8`.
    """
    shown = alpha_u8 if shown_u8 is None else shown_u8
    # Where the subject is not all there, and something will be seen.
    unsure = cast(U8, cv2.min(cv2.bitwise_not(alpha_u8), shown))
    at_an_edge = (unsure > HARDLY).view(np.uint8)
    parts = boxes(at_an_edge, TILE_CELLS * cell) if strength > 0 else []
    if not parts:
        return rgb_u8
    means = _wide_means(rgb_u8, alpha_u8, cell)
    result = rgb_u8.copy()
    for box in parts:
        around = box.grown(FINE_PIXELS, *alpha_u8.shape)
        wide = [_spread(plane, around, cell) for plane in means]
        colours = _colours(rgb_u8[around.view], alpha_u8[around.view], wide, box.inside(around))
        own = rgb_u8[box.view]
        if strength < 1:
            own_f32 = own.astype(np.float32)
            colours = cast(F32, cv2.addWeighted(colours, strength, own_f32, 1 - strength, 0))
        result[box.view] = cv2.copyTo(cv2.convertScaleAbs(colours), unsure[box.view], own.copy())
    return result


def _wide_means(rgb_u8: U8, alpha_u8: U8, cell: int) -> tuple[F32, F32]:
    """Means around each cell of the subject's colours and of the background's, each (h, w, 3)."""
    half_rgb, half_alpha = _halved(rgb_u8, cell), _halved(alpha_u8, cell)
    # At half size, a quarter of the work: what alpha and colours do within two pixels is lost in
    # windows of 184.
    mine = cv2.multiply(half_rgb, cv2.cvtColor(half_alpha, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    picture, subject = _cells(half_rgb, cell // 2), _cells(cast(U8, mine), cell // 2)
    weight = _cells(half_alpha, cell // 2) * np.float32(1 / 255)
    # How much of a cell lies in the picture: less than all at the right and below.
    filled = np.outer(*(_filled(samples, cell) for samples in alpha_u8.shape))
    there = cast(F32, cv2.divide(picture, cv2.cvtColor(filled, cv2.COLOR_GRAY2RGB)))
    return (
        _ratio(_sum(subject), _sum(weight), there),
        _ratio(_sum(picture - subject), _sum(cast(F32, filled - weight)), there),
    )


def _filled(samples: int, cell: int) -> F32:
    cells = -(-samples // cell)
    filled = np.ones(cells, np.float32)
    filled[-1] = (samples - (cells - 1) * cell) / cell
    return filled


def _sum(plane: F32) -> F32:
    side = (2 * COARSE_CELLS + 1, 2 * COARSE_CELLS + 1)
    summed = cv2.boxFilter(plane, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return cast(F32, summed)


def _spread(plane: F32, box: Box, cell: int) -> F32:
    """The part of `plane`, (h, w, 3) by cells, under a box of pixels, bilinear between cells."""
    rows, columns = plane.shape[:2]
    cells = Box(box.top // cell, -(-box.bottom // cell), box.left // cell, -(-box.right // cell))
    part = cells.grown(1, rows, columns)
    height, width = part.size_hw
    spread = cv2.resize(plane[part.view], (width * cell, height * cell))
    return cast(F32, spread[box.inside(Box(part.top * cell, 0, part.left * cell, 0))])


def _colours(own_u8: U8, alpha_u8: U8, wide: list[F32], core: tuple[slice, slice]) -> F32:
    """The subject's colours in the core of a box, (h, w, 3), 0..255.

    Args:
        own_u8: the box's colours.
        alpha_u8: its alpha.
        wide: means of the subject's colours and of the background's.
        core: the part of the box that has the fine window's pixels around it.
    """
    subject, behind = wide
    own = own_u8.astype(np.float32)
    a = alpha_u8 * np.float32(1 / 255)
    a3 = cast(F32, cv2.cvtColor(a, cv2.COLOR_GRAY2RGB))
    first = _towards_the_picture(own, a3, subject, behind)
    # Without any subject in the fine window, as under a wide feather, the first round stands.
    subject = _narrow_mean(first, a, a3, core)
    # The twin takes the narrow mean of what lies behind too; of a mean over 184 pixels it is that
    # mean again, to a level or two, and costs a third of all this.
    return _towards_the_picture(own[core], a3[core], subject, behind[core])


def _towards_the_picture(own: F32, a3: F32, subject: F32, behind: F32) -> F32:
    # subject + a (own - a subject - (1 - a) behind)
    difference = cv2.subtract(subject, behind)
    cv2.multiply(difference, a3, dst=difference)
    rest = cv2.subtract(own, behind)
    cv2.subtract(rest, difference, dst=rest)
    cv2.multiply(rest, a3, dst=rest)
    cv2.add(rest, subject, dst=rest)
    return cast(F32, np.clip(rest, 0, 255, out=rest))


def _narrow_mean(colours: F32, weight: F32, weight3: F32, core: tuple[slice, slice]) -> F32:
    """Weighted means over the fine window, in the core; `colours` where nothing has weight."""
    total, weights = _near(cast(F32, cv2.multiply(colours, weight3))), _near(weight)
    return _ratio(total[core], weights[core], colours[core])


def _near(plane: F32) -> F32:
    side = (2 * FINE_PIXELS + 1, 2 * FINE_PIXELS + 1)
    summed = cv2.boxFilter(plane, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return cast(F32, summed)


def _ratio(total: F32, weights: F32, otherwise: F32) -> F32:
    """`total / weights`; `otherwise` where nothing has weight."""
    none = (weights <= LITTLE).view(np.uint8)
    with np.errstate(divide="ignore"):
        shares = np.float32(1) / weights
    means = cv2.multiply(total, cv2.cvtColor(shares, cv2.COLOR_GRAY2RGB))
    if cv2.hasNonZero(none):
        cv2.copyTo(otherwise, none, means)
    return cast(F32, means)


def _halved(pixels_u8: U8, cell: int) -> U8:
    """Exact means of 2 x 2 pixels, of the picture made up to whole cells with 0."""
    height, width = pixels_u8.shape[:2]
    right, below = -width % cell, -height % cell
    if right or below:
        pixels_u8 = cast(U8, cv2.copyMakeBorder(pixels_u8, 0, below, 0, right, cv2.BORDER_CONSTANT))
    half = (pixels_u8.shape[1] // 2, pixels_u8.shape[0] // 2)
    return cast(U8, cv2.resize(pixels_u8, half, interpolation=cv2.INTER_AREA))


def _cells(pixels_u8: U8, cell: int) -> F32:
    """Means of cell x cell pixels, (h, w) or (h, w, C) float32 in 0..255: a mean keeps what 8 bits
    would round away.
    """
    size = (pixels_u8.shape[1] // cell, pixels_u8.shape[0] // cell)
    return cast(F32, cv2.resize(pixels_u8.astype(np.float32), size, interpolation=cv2.INTER_AREA))
