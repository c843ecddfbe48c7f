"""Straight alpha to premultiplied and back, for whoever draws with the cutout.

For the device pipeline; nothing of the server calls it so far (docs/gpu.md).
"""

from __future__ import annotations

import numpy as np

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream

MULTIPLY = Kernel("premultiply", "premultiply")
DIVIDE = Kernel("premultiply", "unpremultiply")
KERNELS: tuple[Kernel, ...] = (MULTIPLY, DIVIDE)

_BLOCK = 256


def premultiply(
    device: Device, stream: Stream, *, source: int, target: int, width: int, height: int
) -> None:
    """Queues colours times alpha, rounded to nearest.

    Args:
        device: where.
        stream: in which order.
        source: address of (height, width, 4) uint8, straight alpha; a multiple of 16.
        target: address of the same shape, premultiplied; a multiple of 16; may be `source`.
        width: columns in pixels.
        height: rows in pixels.

    Raises:
        ValueError: a size is below 1.
    """
    check_sizes(width=width, height=height)
    _change(device, stream, MULTIPLY, (source, target), width * height)


def unpremultiply(
    device: Device, stream: Stream, *, source: int, target: int, width: int, height: int
) -> None:
    """Queues colours divided by alpha, rounded to nearest, ties up; 0 where alpha is 0.

    Args:
        device: where.
        stream: in which order.
        source: address of (height, width, 4) uint8, premultiplied; a multiple of 16. A colour
            above its alpha, which no drawing makes, ends at 255.
        target: address of the same shape, straight alpha; a multiple of 16; may be `source`.
        width: columns in pixels.
        height: rows in pixels.

    Raises:
        ValueError: a size is below 1.
    """
    check_sizes(width=width, height=height)
    _change(device, stream, DIVIDE, (source, target), width * height)


def _change(
    device: Device, stream: Stream, kernel: Kernel, addresses: tuple[int, int], pixels: int
) -> None:
    grid = (blocks(pixels, 4 * _BLOCK), 1, 1)
    args = (address(addresses[0]), address(addresses[1]), np.int32(pixels))
    device.launch(kernel, grid, (_BLOCK, 1, 1), args, stream)
