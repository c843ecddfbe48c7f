"""Refines an alpha's edges by the picture: guided filter with a colour guide, at reduced scale.

Called by `server.finishing`, and by `kernels.cpu.matting` before and after its coarse stage; twin
of `kernels.reference.guided_refine`, which gives the method. The functions are fitted on the cells
around the subject's edge, and applied in the boxes of the picture alone that an edge is near.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.tiles import Box, boxes

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

TILE = 96  # pixels, about: smaller boxes cost more for being called than for their pixels
# The weight of a window whose mean alpha is 5 levels from 0 or 255. Networks leave a haze of 1 to 3
# levels on half of a photo; where there is no more than that, the fit has nothing to find, and
# could change what is there by about a level.
HARDLY = 0.3


def window_cells(cell_px: float) -> int:
    """The `scale` that suits a model's alpha: a window of 5 cells must reach over what the model
    gets wrong, which is a matter of its own pixels and not of the picture's.

    Of 1 to 5 pixels of the model, 2 to 3 were best at 512, 1920 and 4000 px (docs/evaluation.md).

    Args:
        cell_px: pixels of the picture along one pixel of the model's own alpha.
    """
    return max(2, round(2 * cell_px))


def guided_refine(
    rgb_u8: U8,
    alpha_u8: U8,
    *,
    scale: int = 4,
    radius: int = 2,
    epsilon: float = 1e-4,
    contrast: float = 0.1,
) -> U8:
    """Alpha whose edges follow the picture's, (H, W) uint8, within 2 levels of the twin's, or 5
    levels where the twin changes a haze that is less than that from 0 or 255.

    Args:
        rgb_u8: (H, W, 3).
        alpha_u8: (H, W).
        scale: pixels along a cell's side.
        radius: of the window in cells.
        epsilon: variance below which a window counts as flat, in units where white is 1.
        contrast: alpha up to it becomes 0, from 1 - contrast on 1, a straight line between.
    """
    return follow(
        rgb_u8,
        cell_means(alpha_u8, scale),
        alpha_u8,
        scale=scale,
        radius=radius,
        epsilon=epsilon,
        contrast=contrast,
    )


def follow(
    rgb_u8: U8,
    alpha: F32,
    alpha_u8: U8,
    *,
    scale: int,
    radius: int,
    epsilon: float,
    contrast: float,
) -> U8:
    """What `guided_refine` does once it has the cells' alpha, which may come from elsewhere.

    Args:
        rgb_u8: (H, W, 3).
        alpha: (h, w) float32 in [0, 1], of the cells.
        alpha_u8: (H, W), what stays where no edge is near.
        scale: pixels along a cell's side.
        radius: as in `guided_refine`, as are the others.
        epsilon: likewise.
        contrast: likewise.
    """
    edge = (_sure(_box(alpha, radius)) > HARDLY).view(np.uint8)
    # The bilinear spread reaches one cell further than the window.
    reach = np.ones((2 * radius + 3, 2 * radius + 3), np.uint8)
    near = cast(U8, cv2.dilate(edge, reach))
    result = alpha_u8.copy()
    if not near.any():
        return result
    left, top, width, height = cv2.boundingRect(near)
    whole = Box(top, top + height, left, left + width)
    # Two windows are needed around a cell: the mean of the functions that were fitted in them; and
    # at least the one cell that bilinear spreading takes.
    fitted = whole.grown(max(1, 2 * radius), *near.shape)
    pixels = fitted.times(scale, *alpha_u8.shape)
    planes = _lines(cell_means(rgb_u8[pixels.view], scale), alpha[fitted.view], radius, epsilon)
    # alpha = clip(sum of slopes * colours + offset, 0, weight) + (1 - weight) * own, all times 255:
    # the contrast is put into the functions here, where there are few of them.
    slopes, offset, weight = planes[:3], planes[3], planes[4]
    offset -= np.float32(contrast) * weight
    stretch = np.float32(1 / (1 - 2 * contrast))
    for slope in slopes:
        np.multiply(slope, stretch, out=slope)
    offset *= 255 * stretch
    weight *= 255
    for box in boxes(near, max(1, TILE // scale)):
        _apply(planes, fitted, box.cut_to(whole), (rgb_u8, alpha_u8), scale, result)
    return result


def _lines(guide: F32, alpha: F32, radius: int, epsilon: float) -> list[F32]:
    """For each cell the mean of the windows' functions: three slopes, offset, weight, each (h, w).

    Args:
        guide: (h, w, 3), the cells' colours in [0, 1].
        alpha: (h, w), the cells' alpha.
        radius: as in `guided_refine`.
        epsilon: likewise.
    """
    planes = cast(list[F32], list(cv2.split(guide)))
    means = [_box(plane, radius) for plane in planes]
    mean_alpha = _box(alpha, radius)
    sure = _sure(mean_alpha)
    r, g, b = (
        _box(plane * alpha, radius) - mean * mean_alpha
        for plane, mean in zip(planes, means, strict=True)
    )
    (rr, rg, rb), (gg, gb), (bb,) = (
        [
            _box(planes[i] * planes[j], radius)
            - means[i] * means[j]
            + (np.float32(epsilon) if i == j else 0)
            for j in range(i, 3)
        ]
        for i in range(3)
    )
    # The symmetric 3 x 3 system of each cell by L D L^T: its cofactors are fewer operations, but
    # float32 leaves nothing of their sum where a window has one colour in many shades.
    lower10, lower20 = rg / rr, rb / rr
    second = gg - rg * lower10
    rest = gb - rg * lower20
    lower21 = rest / second
    g -= lower10 * r
    b -= lower20 * r
    b -= lower21 * g
    b /= bb - rb * lower20 - rest * lower21
    g /= second
    g -= lower21 * b
    r /= rr
    r -= lower10 * g
    r -= lower20 * b
    slopes = [sure * slope for slope in (r, g, b)]
    offset = sure * mean_alpha
    for slope, mean in zip(slopes, means, strict=True):
        offset -= slope * mean
    return [_box(plane, radius) for plane in (*slopes, offset, sure)]


def _apply(  # noqa: PLR0917
    planes: list[F32], fitted: Box, cells: Box, pictures: tuple[U8, U8], scale: int, target: U8
) -> None:
    """Writes the refined alpha of one box into `target`, (H, W).

    Args:
        planes: three slopes, offset, weight of the cells of `fitted`, for an alpha of 0..255.
        fitted: a box of cells.
        cells: the box to refine, inside it.
        pictures: colours (H, W, 3) and alpha as it was, (H, W).
        scale: pixels along a cell's side.
        target: of the same size.
    """
    rgb_u8, own_u8 = pictures
    box = cells.times(scale, *own_u8.shape)
    around = cells.grown(1, fitted.bottom, fitted.right).cut_to(fitted)
    part = around.inside(fitted)
    size = (scale * (around.right - around.left), scale * (around.bottom - around.top))
    height, width = box.size_hw
    top, left = (cells.top - around.top) * scale, (cells.left - around.left) * scale
    spread = [
        cast(F32, cv2.resize(plane[part], size))[top : top + height, left : left + width]
        for plane in planes
    ]
    alpha, weight = spread[3], spread[4]
    for slope, channel in zip(spread[:3], cv2.split(rgb_u8[box.view]), strict=True):
        cv2.multiply(slope, channel, dst=slope, dtype=cv2.CV_32F)
        cv2.add(alpha, slope, dst=alpha)
    np.maximum(alpha, 0, out=alpha)
    cv2.min(alpha, weight, dst=alpha)
    np.subtract(255, weight, out=weight)
    cv2.multiply(weight, own_u8[box.view], dst=weight, scale=1 / 255, dtype=cv2.CV_32F)
    cv2.add(alpha, weight, dst=alpha)
    target[box.view] = cv2.convertScaleAbs(alpha)


def _sure(mean_alpha: F32) -> F32:
    """How much of an edge a window holds, 0..1."""
    return cast(F32, np.minimum(np.float32(1), np.float32(16) * mean_alpha * (1 - mean_alpha)))


def cell_means(pixels_u8: U8, scale: int) -> F32:
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
    return cast(F32, small * np.float32(1 / 255))


def _cut(samples: int, scale: int) -> list[tuple[slice, slice]]:
    """The samples that fill whole cells with those cells, and the rest with the last one."""
    cells, rest = divmod(samples, scale)
    cuts = [(slice(0, cells * scale), slice(0, cells))] if cells else []
    return cuts + ([(slice(cells * scale, samples), slice(cells, cells + 1))] if rest else [])


def _box(plane: F32, radius: int) -> F32:
    """Means over windows of `radius` around each cell, cut at the edges; (h, w)."""
    side = (2 * radius + 1, 2 * radius + 1)
    summed = cv2.boxFilter(plane, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT)
    total = cast(F32, summed)
    rows, columns = (_counts(samples, radius) for samples in plane.shape)
    total *= np.float32(1) / (rows[:, None] * columns)
    return total


def _counts(samples: int, radius: int) -> F32:
    index = np.arange(samples)
    first, last = np.maximum(index - radius, 0), np.minimum(index + radius, samples - 1)
    return (last - first + 1).astype(np.float32)
