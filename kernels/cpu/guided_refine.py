"""Refines an alpha's edges by the picture: guided filter with a colour guide, at reduced scale.

Called by `server.finishing`; twin of `kernels.reference.guided_refine`, which gives the method. The
functions are fitted on the cells of the whole picture, and applied in the tiles alone that an edge
is near.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.tiles import core, gather, parts, scatter, touched

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

TILE_CELLS = 16
# The weight of a window whose mean alpha is 5 levels from 0 or 255. Networks leave a haze of 1 to 3
# levels on half of a photo; where there is no more than that, the fit has nothing to find, and
# could change what is there by about a level.
HARDLY = 0.3
LOT = 16  # tiles at a time: 16 x 64 x 64 pixels of 3 floats are 0.8 MB


def guided_refine(
    rgb_u8: U8,
    alpha_u8: U8,
    *,
    scale: int = 4,
    radius: int = 2,
    epsilon: float = 1e-4,
    contrast: float = 0.1,
) -> U8:
    """Alpha whose edges follow the picture's, (H, W) uint8, within 2 levels of the twin's.

    Args:
        rgb_u8: (H, W, 3).
        alpha_u8: (H, W).
        scale: pixels along a cell's side.
        radius: of the window in cells.
        epsilon: variance below which a window counts as flat, in units where white is 1.
        contrast: alpha up to it becomes 0, from 1 - contrast on 1, a straight line between.
    """
    alpha = _cells(alpha_u8, scale)
    mean_alpha = _box(alpha, radius)
    sure = np.minimum(1, 16 * mean_alpha * (1 - mean_alpha))
    edge = (sure > HARDLY).view(np.uint8)
    # The bilinear spread reaches one cell further than the window.
    reach = np.ones((2 * radius + 3, 2 * radius + 3), np.uint8)
    near = cast(U8, cv2.dilate(edge, reach))
    result = alpha_u8.copy()
    if not near.any():
        return result
    line = np.zeros((*alpha.shape, 5), np.float32)
    # Two windows are needed around a cell: the mean of the functions that were fitted in them.
    rows, columns = _around(near, 2 * radius)
    pixels = rgb_u8[
        rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale
    ]
    line[rows, columns] = _lines(_cells(pixels, scale), alpha[rows, columns], radius, epsilon)
    corners = touched(near, TILE_CELLS)
    padded = cast(F32, cv2.copyMakeBorder(line, 1, 1, 1, 1, cv2.BORDER_REPLICATE))
    for lot in parts(corners, LOT):
        at = [(y * scale, x * scale) for y, x in lot]
        # `padded` is shifted by the one cell that each tile takes more on every side.
        cells = gather(padded, [(y + 1, x + 1) for y, x in lot], TILE_CELLS, apron=1)
        rgb, own = (gather(plane, at, TILE_CELLS * scale) for plane in (rgb_u8, alpha_u8))
        scatter(_apply(cells, rgb, own, contrast), at, result)
    return result


def _around(near: U8, apron: int) -> tuple[slice, slice]:
    """Rows and columns, in cells, that hold all of `near` and an apron around it."""
    left, top, width, height = cv2.boundingRect(near)
    rows, columns = near.shape
    return (
        slice(max(0, top - apron), min(rows, top + height + apron)),
        slice(max(0, left - apron), min(columns, left + width + apron)),
    )


def _lines(guide: F32, alpha: F32, radius: int, epsilon: float) -> F32:
    """For each cell the mean of the windows' functions: (h, w, 5) of three slopes, offset, weight.

    Args:
        guide: (h, w, 3), the cells' colours in [0, 1].
        alpha: (h, w), the cells' alpha.
        radius: as in `guided_refine`.
        epsilon: likewise.
    """
    planes = [guide[..., i] for i in range(3)]
    means = [_box(plane, radius) for plane in planes]
    mean_alpha = _box(alpha, radius)
    sure = np.minimum(1, 16 * mean_alpha * (1 - mean_alpha))
    r, g, b = (
        _box(plane * alpha, radius) - mean * mean_alpha
        for plane, mean in zip(planes, means, strict=True)
    )
    # The symmetric 3 x 3 system of each cell, solved by its cofactors.
    (rr, rg, rb), (gg, gb), (bb,) = (
        [
            _box(planes[i] * planes[j], radius)
            - means[i] * means[j]
            + (np.float32(epsilon) if i == j else 0)
            for j in range(i, 3)
        ]
        for i in range(3)
    )
    c00, c01, c02 = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    c11, c12, c22 = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    share = sure / (rr * c00 + rg * c01 + rb * c02)
    slopes = (
        (c00 * r + c01 * g + c02 * b) * share,
        (c01 * r + c11 * g + c12 * b) * share,
        (c02 * r + c12 * g + c22 * b) * share,
    )
    offset = sure * mean_alpha
    for slope, mean in zip(slopes, means, strict=True):
        offset -= slope * mean
    return np.dstack([_box(plane, radius) for plane in (*slopes, offset, sure)])


def _apply(cells: F32, rgb_u8: U8, own_u8: U8, contrast: float) -> U8:
    """The refined alpha of stacked tiles, (n * side, side) uint8.

    Args:
        cells: of `_lines`, the tiles with one cell around each.
        rgb_u8: (n * side, side, 3).
        own_u8: (n * side, side), the alpha as it was.
        contrast: as in `guided_refine`.
    """
    scale = own_u8.shape[1] // TILE_CELLS
    *slopes, offset, weight = (
        core(
            cast(F32, cv2.resize(np.ascontiguousarray(cells[..., i]), None, fx=scale, fy=scale)),
            scale,
        )
        for i in range(5)
    )
    fitted = offset
    for slope, channel in zip(slopes, cv2.split(rgb_u8), strict=True):
        fitted += cv2.multiply(slope, channel, scale=1 / 255, dtype=cv2.CV_32F)
    # weight * clip((fitted / weight - c) / (1 - 2 c)) without the division, which a weight of 0
    # would not survive.
    fitted -= np.float32(contrast) * weight
    fitted *= np.float32(1 / (1 - 2 * contrast))
    np.clip(fitted, 0, weight, out=fitted)
    fitted *= 255
    fitted += (1 - weight) * own_u8
    return cast(U8, cv2.convertScaleAbs(fitted))


def _cells(pixels_u8: U8, scale: int) -> F32:
    """Means of the cells rounded to 8 bits, (h, w) or (h, w, C) float32 in [0, 1]."""
    height, width = pixels_u8.shape[:2]
    rows, columns = -(-height // scale), -(-width // scale)
    small = np.empty((rows, columns, *pixels_u8.shape[2:]), np.uint8)
    # Whole cells, then those that the picture's edge cuts: each by the pixels that it has.
    for from_y, to_y in _cut(height, scale):
        for from_x, to_x in _cut(width, scale):
            target = small[to_y, to_x]
            size = (target.shape[1], target.shape[0])
            part = cv2.resize(pixels_u8[from_y, from_x], size, interpolation=cv2.INTER_AREA)
            target[:] = part.reshape(target.shape)
    return small * np.float32(1 / 255)


def _cut(samples: int, scale: int) -> list[tuple[slice, slice]]:
    """The samples that fill whole cells with those cells, and the rest with the last one."""
    cells, rest = divmod(samples, scale)
    cuts = [(slice(0, cells * scale), slice(0, cells))] if cells else []
    return cuts + ([(slice(cells * scale, samples), slice(cells, cells + 1))] if rest else [])


def _box(plane: F32, radius: int) -> F32:
    """Means over windows of `radius` around each cell, cut at the edges; (h, w)."""
    side = (2 * radius + 1, 2 * radius + 1)
    total = cv2.boxFilter(plane, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT)
    rows, columns = (_counts(samples, radius) for samples in plane.shape)
    return cast(F32, total * (np.float32(1) / (rows[:, None] * columns)))


def _counts(samples: int, radius: int) -> F32:
    index = np.arange(samples)
    first, last = np.maximum(index - radius, 0), np.minimum(index + radius, samples - 1)
    return (last - first + 1).astype(np.float32)
