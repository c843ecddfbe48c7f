"""Alpha by matting: what the picture itself says of each pixel that the model is not sure of.

Called by `server.finishing` for `refine=best` (`matte`) and for a caller's own trimap
(`solve_trimap`). Levin's closed form, coarse to fine: the whole subject on cells of a few pixels,
where a wrong edge can still move far, then full resolution in the boxes alone that hold an edge.
Memory is that of `COARSE_PIXELS` and of one box whatever the picture's size, and `FINE_PIXELS`
bounds the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.guided_refine import cell_means, follow, guided_refine, window_cells
from kernels.cpu.matting_laplacian import MattingLaplacian, go_on, solve
from kernels.cpu.tiles import Box, boxes

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

COARSE_PIXELS = 400_000  # at most so many cells: 0.1 s of one core, 35 MB
BYTES_PER_CELL = 90  # some twenty planes of float32: measured as growth of the process
COARSE_RADIUS = 2  # of the Laplacian's windows in cells
COARSE_STEPS = 30
CELL_SHARE = 0.5  # a cell of the coarse stage, of one of the network's
REACH = 1.5  # the unknown band on both sides of an edge, in the network's cells
UNSURE = 0.05  # alpha further than this from 0 and 1 is unknown wherever it lies
SURE_WEIGHT = 10.0  # of a known pixel's alpha in the sum that is made small
HINT_WEIGHT = 0.03  # of an unknown pixel's, where the model was sure; less where it was not
EPSILON = 4e-6
FINE_HINT_WEIGHT = 0.3  # of a pixel in the fine stage: the coarse one left little to move
FOLLOW_EPSILON = 1e-5  # of the functions that carry the cells to the pixels
CONTRAST = 0.05  # what is within it of 0 or 1 after solving is 0 or 1

TILE = 128
TILES_AT_ONCE = 4  # in a row: 128 x 512 pixels and their aprons, 20 planes of 0.3 MB
APRON = 12
# More than this is no edge: the model is lost on half of a picture, and detail will not save it.
FINE_PIXELS = 4_000_000
FINE_STEPS = 8


def matte(rgb_u8: U8, alpha_u8: U8, *, cell_px: float, check: Callable[[], None] = go_on) -> U8:
    """The model's alpha solved anew around the subject's edge, (H, W) uint8.

    Known is what lies further from the edge than the model can be wrong by, in its own cells, and
    where it was sure; the picture decides the rest.

    Args:
        rgb_u8: (H, W, 3).
        alpha_u8: (H, W), a model's at the picture's size.
        cell_px: pixels of the picture along one pixel of the model's own alpha.
        check: called every few milliseconds; what it raises ends the work.
    """
    first = guided_refine(rgb_u8, alpha_u8, scale=window_cells(cell_px))
    scale = max(round(CELL_SHARE * cell_px), _coarsest(alpha_u8), 1)
    alpha = cell_means(first, scale)
    reach = max(1, round(REACH * cell_px / scale))
    edge = cv2.morphologyEx(
        (alpha > 0.5).view(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
    )
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    unknown = cast(U8, cv2.dilate(edge, brush))
    unknown |= ((alpha > UNSURE) & (alpha < 1 - UNSURE)).view(np.uint8)
    if not unknown.any():
        return first
    sure = np.square(2 * alpha - 1)
    weight = np.where(unknown, np.float32(HINT_WEIGHT) * sure, np.float32(SURE_WEIGHT))
    target = np.where(unknown, alpha, np.rint(alpha))
    return _solved(rgb_u8, first, (unknown, weight, target, alpha), scale, check)


def solve_trimap(
    rgb_u8: U8,
    trimap_u8: U8,
    hint_alpha_u8: U8 | None = None,
    *,
    check: Callable[[], None] = go_on,
) -> U8:
    """Alpha of what a trimap leaves open, (H, W) uint8: exactly 0 and 255 where the trimap is.

    Args:
        rgb_u8: (H, W, 3).
        trimap_u8: (H, W); 0 is background, 255 is subject, everything between is unknown.
        hint_alpha_u8: (H, W), a model's alpha, weighed lightly in the unknown part; None: none.
        check: as in `matte`.
    """
    known = (trimap_u8 == 0) | (trimap_u8 == 255)
    if known.all():
        return trimap_u8.copy()
    first = np.where(known, trimap_u8, trimap_u8 if hint_alpha_u8 is None else hint_alpha_u8)
    scale = _coarsest(trimap_u8)
    alpha = cell_means(first, scale)
    # A cell is known when all of its pixels are.
    unknown = (cell_means(np.where(known, np.uint8(0), np.uint8(255)), scale) > 0).view(np.uint8)
    free = np.square(2 * alpha - 1) * np.float32(0 if hint_alpha_u8 is None else HINT_WEIGHT)
    weight = np.where(unknown, np.maximum(free, np.float32(1e-4)), np.float32(SURE_WEIGHT))
    solved = _solved(rgb_u8, first, (unknown, weight, alpha, alpha), scale, check)
    return np.where(known, trimap_u8, solved)


def matting_bytes(pixels: int) -> int:
    """Memory that `matte` and `solve_trimap` take besides planes of the picture's own size.

    Args:
        pixels: of the picture.
    """
    return BYTES_PER_CELL * min(pixels, COARSE_PIXELS)


def _solved(
    rgb_u8: U8,
    first_u8: U8,
    problem: tuple[U8, F32, F32, F32],
    scale: int,
    check: Callable[[], None],
) -> U8:
    """The alpha of both stages, (H, W) uint8.

    Args:
        rgb_u8: (H, W, 3).
        first_u8: (H, W), what stays where nothing is unknown.
        problem: of the cells, each (h, w): what is unknown, weight, target, start of `solve`.
        scale: pixels along a cell's side.
        check: as in `matte`.
    """
    unknown, weight, target, start = problem
    # Only around what is unknown; the rest would be solved for its own value.
    left, top, width, height = cv2.boundingRect(unknown)
    part = Box(top, top + height, left, left + width).grown(4 * COARSE_RADIUS, *unknown.shape)
    pixels = part.times(scale, *first_u8.shape)
    guide = cell_means(rgb_u8[pixels.view], scale)
    guide -= np.float32(0.5)
    laplacian = MattingLaplacian(guide, COARSE_RADIUS, EPSILON)
    cells = target.copy()
    cells[part.view] = solve(
        laplacian, weight[part.view], target[part.view], start[part.view], COARSE_STEPS, check
    )
    cells = _stretched(cells)
    height, width = first_u8.shape
    cells_u8 = cv2.convertScaleAbs(cells, alpha=255)
    size = (cells.shape[1] * scale, cells.shape[0] * scale)
    coarse = cast(U8, cv2.resize(cells_u8, size))[:height, :width]
    if scale == 1:
        return coarse
    coarse = follow(
        rgb_u8, cells, coarse, scale=scale, radius=2, epsilon=FOLLOW_EPSILON, contrast=CONTRAST
    )
    return _fine(rgb_u8, coarse, scale, check)


def _fine(rgb_u8: U8, start_u8: U8, scale: int, check: Callable[[], None]) -> U8:
    """The alpha solved at full resolution where it is neither 0 nor 1, box by box."""
    soft = cast(U8, cv2.inRange(start_u8, 8, 247))
    brush = np.ones((scale | 1, scale | 1), np.uint8)
    unknown = cast(U8, cv2.dilate(soft, brush))
    parts = list(_short(boxes(unknown, TILE)))
    if sum(height * width for height, width in (box.size_hw for box in parts)) > FINE_PIXELS:
        return start_u8
    result = start_u8.copy()
    for box in parts:
        around = box.grown(APRON, *start_u8.shape)
        guide = rgb_u8[around.view] * np.float32(1 / 255)
        guide -= np.float32(0.5)
        start = start_u8[around.view] * np.float32(1 / 255)
        weight = np.where(
            unknown[around.view], np.float32(FINE_HINT_WEIGHT), np.float32(SURE_WEIGHT)
        )
        # The rim is held, so that what the next box makes of its side fits to this one's.
        rim = np.ones(weight.shape, np.bool_)
        rim[2:-2, 2:-2] = False
        weight[rim] = SURE_WEIGHT
        laplacian = MattingLaplacian(guide, 1, EPSILON)
        alpha = _stretched(solve(laplacian, weight, start, start, FINE_STEPS, check))
        result[box.view] = cv2.convertScaleAbs(alpha[box.inside(around)], alpha=255)
    return result


def _short(found: list[Box]) -> Iterator[Box]:
    """The boxes cut into pieces of at most TILES_AT_ONCE tiles."""
    for box in found:
        for left in range(box.left, box.right, TILE * TILES_AT_ONCE):
            right = min(box.right, left + TILE * TILES_AT_ONCE)
            yield box._replace(left=left, right=right)


def _stretched(alpha: F32) -> F32:
    stretched = (alpha - np.float32(CONTRAST)) * np.float32(1 / (1 - 2 * CONTRAST))
    return np.clip(stretched, 0, 1, out=stretched)


def _coarsest(plane: U8) -> int:
    """Pixels along the side of a cell of which there are at most COARSE_PIXELS."""
    return max(1, int(np.ceil(np.sqrt(plane.size / COARSE_PIXELS))))
