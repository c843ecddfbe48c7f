"""The subject's own colours on the device: takes the old background out of edge pixels.

Called by `server.device_edges` for `Foreground.decontaminate`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream

CELLS = Kernel("foreground", "foreground_cells")
SUM = Kernel("foreground", "foreground_sum")
COPY = Kernel("foreground", "foreground_copy")
BAND = Kernel("foreground", "foreground_band")
KERNELS = (CELLS, SUM, COPY, BAND)

_CELL_BYTES = 2 * 16  # subject and behind, a float4 each


def scratch_bytes(width: int, height: int, cell: int = 8) -> int:
    """Scratch that `foreground` needs, in bytes: 64 a cell, 1 a pixel at cell 8."""
    return 2 * _CELL_BYTES * blocks(width, cell) * blocks(height, cell)


def foreground(
    device: Device,
    stream: Stream,
    *,
    image: NDArray[np.void],
    alpha: int,
    target: int,
    scratch: int,
    width: int,
    height: int,
    strength: float = 1.0,
    channels: int = 3,
    cell: int = 8,
) -> None:
    """Queues `foreground`; `kernels.reference.foreground` has the definition.

    Args:
        device: where.
        stream: its queue.
        image: the picture, as `kernels.image.image_struct` makes it.
        alpha: device address of its alpha, (height, width) uint8.
        target: of the colours, (height, width, channels) uint8; must not be the image's own memory.
        scratch: of `scratch_bytes` bytes, a multiple of 16.
        width: columns of the image in pixels.
        height: rows of the image in pixels.
        strength: 0 (the image's colours) to 1.
        channels: 3: RGB; 4: RGBA with the alpha given and 0 in all channels where it is 0; then
            `target` is a multiple of 4.
        cell: pixels along a cell's side; the coarse round reaches 11 cells.

    Raises:
        ValueError: a size is below 1, or `channels` is neither 3 nor 4.
    """
    check_sizes(width=width, height=height, cell=cell)
    if channels not in (3, 4):
        raise ValueError(f"channels is {channels}; allowed are 3 (RGB) and 4 (RGBA)")
    cells_w, cells_h = blocks(width, cell), blocks(height, cell)
    cells_wh = (np.int32(cells_w), np.int32(cells_h))
    plane = _CELL_BYTES // 2 * cells_w * cells_h
    subject, behind, sums = scratch, scratch + plane, scratch + 2 * plane
    block = (32, 8, 1)
    grid = (blocks(cells_w, 32), blocks(cells_h, 8), 1)
    picture = (image, address(alpha))
    device.launch(
        COPY,
        (blocks(width, 128), blocks(height, 8), 1),
        block,
        (*picture, address(target), np.int32(channels)),
        stream,
    )
    if strength == 0:
        return
    cells = (address(subject), address(behind))
    device.launch(CELLS, grid, block, (*picture, *cells, np.int32(cell), *cells_wh), stream)
    for source, to, vertical in ((subject, sums, 0), (sums, subject, 1)):
        args = (address(source), address(to), *cells_wh, np.int32(vertical))
        device.launch(SUM, (*grid[:2], 2), block, args, stream)
    device.launch(
        BAND,
        (blocks(width, 16), blocks(height, 16), 1),
        (16, 16, 1),
        (
            *picture,
            *cells,
            address(target),
            np.int32(channels),
            np.int32(cell),
            *cells_wh,
            np.float32(strength),
        ),
        stream,
    )
