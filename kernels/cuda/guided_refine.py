"""Refines an alpha's edges by the picture on the device, at a fraction of its size.

Called by `server.device_edges` for `Refine.REFINE_FAST`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream

CELLS = Kernel("guided_refine", "guided_cells")
LINES = Kernel("guided_refine", "guided_lines")
MEAN = Kernel("guided_refine", "guided_mean")
APPLY = Kernel("guided_refine", "guided_apply")
KERNELS = (CELLS, LINES, MEAN, APPLY)

MAX_RADIUS = 8  # REACH in guided_refine.cu
MAX_SCALE = 32
_TILE = 16


def scratch_bytes(width: int, height: int, scale: int = 4) -> int:
    """Scratch that `guided_refine` needs, in bytes: 44 a cell, 2.8 a pixel at scale 4."""
    return sum(_parts(width, height, scale))


def guided_refine(
    device: Device,
    stream: Stream,
    *,
    image: NDArray[np.void],
    alpha: int,
    target: int,
    scratch: int,
    width: int,
    height: int,
    scale: int = 4,
    radius: int = 2,
    epsilon: float = 1e-4,
    contrast: float = 0.1,
) -> None:
    """Queues `guided_refine`; `kernels.reference.guided_refine` has the definition.

    Args:
        device: where.
        stream: its queue.
        image: the picture, as `kernels.image.image_struct` makes it.
        alpha: device address of its alpha, (height, width) uint8.
        target: of the result, the same shape; may be `alpha`.
        scratch: of `scratch_bytes` bytes, a multiple of 256.
        width: columns of the image in pixels.
        height: rows of the image in pixels.
        scale: pixels along a cell's side, 1..32.
        radius: of the window in cells, 1..8.
        epsilon: variance below which a window counts as flat, in units where white is 1; above 0.
        contrast: haze to take out on both sides of an edge, 0 to under 0.5.

    Raises:
        ValueError: a size is below 1, or a setting is outside its range.
    """
    check_sizes(width=width, height=height)
    if not (1 <= scale <= MAX_SCALE and 1 <= radius <= MAX_RADIUS):
        raise ValueError(
            f"scale is {scale}, radius {radius}; allowed are 1 to {MAX_SCALE} pixels and 1 to"
            f" {MAX_RADIUS} cells"
        )
    # Both would divide by 0: a flat window's covariance is exactly that.
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise ValueError(f"epsilon is {epsilon}; it must be above 0, for example 1e-4")
    if not 0 <= contrast < 0.5:
        raise ValueError(f"contrast is {contrast}; allowed are 0 to below 0.5")
    cells_w, cells_h = blocks(width, scale), blocks(height, scale)
    cells_wh = (np.int32(cells_w), np.int32(cells_h))
    sizes = _parts(width, height, scale)
    cells, line, sure, mean_line, mean_sure = (
        address(scratch + sum(sizes[:index])) for index in range(len(sizes))
    )
    tiles = (blocks(cells_w, _TILE), blocks(cells_h, _TILE), 1)
    device.launch(
        CELLS,
        (blocks(cells_w, 32), blocks(cells_h, 8), 1),
        (32, 8, 1),
        (image, address(alpha), cells, np.int32(scale), *cells_wh),
        stream,
    )
    device.launch(
        LINES,
        tiles,
        (_TILE, _TILE, 1),
        (cells, line, sure, *cells_wh, np.int32(radius), np.float32(epsilon)),
        stream,
    )
    device.launch(
        MEAN,
        tiles,
        (_TILE, _TILE, 1),
        (line, sure, mean_line, mean_sure, *cells_wh, np.int32(radius)),
        stream,
    )
    device.launch(
        APPLY,
        (blocks(width, 32), blocks(height, 8), 1),
        (32, 8, 1),
        (
            image,
            address(alpha),
            mean_line,
            mean_sure,
            address(target),
            np.int32(scale),
            *cells_wh,
            np.float32(contrast),
        ),
        stream,
    )


def _parts(width: int, height: int, scale: int) -> list[int]:
    """Bytes of cells, line, sure and the means of the last two."""
    cells = blocks(width, scale) * blocks(height, scale)
    return [blocks(nbytes * cells, 256) * 256 for nbytes in (4, 16, 4, 16, 4)]
