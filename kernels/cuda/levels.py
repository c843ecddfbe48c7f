"""Black level, white level and threshold of an alpha on the device, in one pass.

For the device pipeline and `Edges.black_level`, `white_level` and `threshold`, which the host
finishes so far (docs/gpu.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream

LEVELS = Kernel("levels", "levels")
KERNELS = (LEVELS,)

_PIXELS_A_BLOCK = 256 * 16
_TABLE = np.dtype([("value", np.uint8, 256)])


def levels_table(
    black: float = 0.0, white: float = 1.0, threshold: float | None = None
) -> NDArray[np.uint8]:
    """What each 8-bit alpha becomes, (256,) uint8; `kernels.reference.levels` has the definition.

    Raises:
        ValueError: `white` is not more than `black`.
    """
    low, high = np.float32(black), np.float32(white)  # what the wire carries, so 0.2 is 51 / 255
    if not low < high:
        raise ValueError(f"white level is {white}, black level {black}; white must be more")
    alpha = np.arange(256) / 255
    stretched = (alpha - float(low)) / (float(high) - float(low))
    stretched[alpha.astype(np.float32) <= low] = 0
    stretched[alpha.astype(np.float32) >= high] = 1
    if threshold is not None:
        stretched = np.where(stretched.astype(np.float32) >= np.float32(threshold), 1.0, 0.0)
    return np.rint(255 * stretched).astype(np.uint8)


def levels(
    device: Device,
    stream: Stream,
    *,
    alpha: int,
    target: int,
    width: int,
    height: int,
    black: float = 0.0,
    white: float = 1.0,
    threshold: float | None = None,
) -> None:
    """Queues `levels` of an alpha.

    Args:
        device: where.
        stream: its queue.
        alpha: device address of (height, width) uint8.
        target: of the result, the same shape; may be `alpha`.
        width: columns in pixels.
        height: rows in pixels.
        black: alpha at or below it becomes 0; 0..1.
        white: alpha at or above it becomes 255; 0..1, more than `black`.
        threshold: with it, the result is 255 from this value on and 0 below; 0..1.

    Raises:
        ValueError: a size is below 1, or `white` is not more than `black`.
    """
    check_sizes(width=width, height=height)
    table = np.zeros(1, _TABLE)
    table["value"] = levels_table(black, white, threshold)
    pixels = width * height
    args = (address(alpha), address(target), np.int64(pixels), table)
    device.launch(LEVELS, (blocks(pixels, _PIXELS_A_BLOCK), 1, 1), (256, 1, 1), args, stream)
