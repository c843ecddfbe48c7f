"""The subject's own colours: takes the old background out of edge pixels.

Called by `server.finishing`; twin of `kernels.reference.foreground`, which gives the method. The
wide means are taken once for the whole picture, on its cells; the rest happens in the tiles alone
that an edge touches.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.tiles import Corner, core, gather, parts, scatter, touched
from kernels.reference.foreground import COARSE_CELLS, FINE_PIXELS

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

TILE_CELLS = 6
LOT = 8  # tiles at a time: 8 x 60 x 60 pixels of 3 floats are 0.3 MB
# Networks leave a haze of 1 to 3 levels on half of a photo. A tile in which nothing is further from
# 0 and 255 than this has no edge, and un-mixing could change what is seen by that many levels.
# It takes four fifths of the tiles away: 76 ms become 20 on a 1080p photo.
HARDLY = 8
LITTLE = np.float32(1e-5)  # less weight than one pixel with an alpha of 1 / 255 has in a sum


def foreground(
    rgb_u8: U8,
    alpha_u8: U8,
    strength: float = 1.0,
    *,
    cell: int = 8,
    shown_u8: U8 | None = None,
) -> U8:
    """Colours of the subject, (H, W, 3) uint8, within 2 levels of the twin's, changed only where
    0 < alpha < 255 and only in tiles that hold an edge; the same array when there is none.

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
    corners = touched(at_an_edge, TILE_CELLS * cell) if strength > 0 else []
    if not corners:
        return rgb_u8
    wide = _wide_means(rgb_u8, alpha_u8, cell)
    padded = cast(F32, cv2.copyMakeBorder(wide, 2, 2, 2, 2, cv2.BORDER_REPLICATE))
    result = rgb_u8.copy()
    for lot in parts(corners, LOT):
        own = gather(rgb_u8, lot, TILE_CELLS * cell, FINE_PIXELS)
        alpha = gather(alpha_u8, lot, TILE_CELLS * cell, FINE_PIXELS)
        colours = _colours(own, alpha, _spread(padded, lot, cell), _inside(lot, alpha_u8, cell))
        own = core(own, FINE_PIXELS)
        if strength < 1:
            colours = cast(
                F32, cv2.addWeighted(colours, strength, own.astype(np.float32), 1 - strength, 0)
            )
        mask = gather(unsure, lot, TILE_CELLS * cell)
        scatter(cast(U8, cv2.copyTo(cv2.convertScaleAbs(colours), mask, own)), lot, result)
    return result


def _wide_means(rgb_u8: U8, alpha_u8: U8, cell: int) -> F32:
    """Means around each cell of the subject's colours and of the background's, (h, w, 6)."""
    half_rgb, half_alpha = _halved(rgb_u8, cell), _halved(alpha_u8, cell)
    # At half size, a quarter of the work: what alpha and colours do within two pixels is lost in
    # windows of 184.
    mine = cv2.multiply(half_rgb, cv2.cvtColor(half_alpha, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    picture, subject = _cells(half_rgb, cell // 2), _cells(cast(U8, mine), cell // 2)
    weight = _cells(half_alpha, cell // 2) * np.float32(1 / 255)
    # How much of a cell lies in the picture: less than all at the right and below.
    filled = np.outer(*(_filled(samples, cell) for samples in alpha_u8.shape))
    means = np.empty((*weight.shape, 6), np.float32)
    both = ((subject, weight), (picture - subject, filled - weight))
    for i, (colours, share) in enumerate(both):
        total, weights = _sum(colours), _sum(cast(F32, share))
        known = weights > LITTLE
        np.maximum(weights, LITTLE, out=weights)
        means[..., 3 * i : 3 * i + 3] = np.where(
            known[..., None], total / weights[..., None], picture / filled[..., None]
        )
    return means


def _filled(samples: int, cell: int) -> F32:
    cells = -(-samples // cell)
    filled = np.ones(cells, np.float32)
    filled[-1] = (samples - (cells - 1) * cell) / cell
    return filled


def _sum(plane: F32) -> F32:
    side = (2 * COARSE_CELLS + 1, 2 * COARSE_CELLS + 1)
    summed = cv2.boxFilter(plane, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return cast(F32, summed)


def _spread(padded: F32, lot: list[Corner], cell: int) -> tuple[F32, F32]:
    """The wide means at some tiles' pixels, aprons included: the subject's, the background's."""
    # `padded` is shifted by the two cells that each tile takes more on every side.
    corners = [(y // cell + 2, x // cell + 2) for y, x in lot]
    cells = gather(padded, corners, TILE_CELLS, apron=2)
    size = (cells.shape[1] * cell, cells.shape[0] * cell)
    spare = 2 * cell - FINE_PIXELS
    subject, behind = (
        core(cast(F32, cv2.resize(np.ascontiguousarray(three), size)), spare)
        for three in (cells[..., :3], cells[..., 3:])
    )
    return subject, behind


def _inside(lot: list[Corner], alpha_u8: U8, cell: int) -> F32 | np.float32:
    """1 where a tile's pixel lies in the picture, else 0."""
    side = TILE_CELLS * cell
    far = side + FINE_PIXELS
    height, width = alpha_u8.shape
    if all(y and x and y + far <= height and x + far <= width for y, x in lot):
        return np.float32(1)
    return gather(np.ones(alpha_u8.shape, np.float32), lot, side, FINE_PIXELS)


def _colours(own_u8: U8, alpha_u8: U8, wide: tuple[F32, F32], inside: F32 | np.float32) -> F32:
    """The subject's colours in stacked tiles without their aprons, (n * side, side, 3), 0..255."""
    own, subject, behind = own_u8.astype(np.float32), *wide
    a = alpha_u8 * np.float32(1 / 255)
    a3 = cast(F32, cv2.cvtColor(a, cv2.COLOR_GRAY2RGB))
    left = cast(F32, inside - a)
    left3 = cast(F32, cv2.cvtColor(left, cv2.COLOR_GRAY2RGB))
    first = _towards_the_picture(own, a3, subject, behind)
    # Without any subject in the fine window, as under a wide feather, the first round stands.
    subject, behind = _narrow_mean(first, a, a3), _narrow_mean(behind, left, left3)
    return _towards_the_picture(core(own, FINE_PIXELS), core(a3, FINE_PIXELS), subject, behind)


def _towards_the_picture(own: F32, a3: F32, subject: F32, behind: F32) -> F32:
    # subject + a (own - a subject - (1 - a) behind)
    difference = cv2.subtract(subject, behind)
    cv2.multiply(difference, a3, dst=difference)
    rest = cv2.subtract(own, behind)
    cv2.subtract(rest, difference, dst=rest)
    cv2.multiply(rest, a3, dst=rest)
    cv2.add(rest, subject, dst=rest)
    return cast(F32, np.clip(rest, 0, 255, out=rest))


def _narrow_mean(colours: F32, weight: F32, weight3: F32) -> F32:
    """Weighted means over the fine window, without aprons; `colours` where nothing has weight."""
    side = (2 * FINE_PIXELS + 1, 2 * FINE_PIXELS + 1)
    total = core(cast(F32, cv2.boxFilter(cv2.multiply(colours, weight3), -1, side)), FINE_PIXELS)
    weights = core(cast(F32, cv2.boxFilter(weight, -1, side)), FINE_PIXELS)
    shares = 1 / np.maximum(weights, LITTLE)
    means = cast(F32, cv2.multiply(total, cv2.cvtColor(shares, cv2.COLOR_GRAY2RGB)))
    none = weights <= LITTLE
    if none.any():
        cv2.copyTo(core(colours, FINE_PIXELS), none.view(np.uint8), means)
    return means


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
