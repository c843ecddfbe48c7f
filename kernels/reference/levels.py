"""Black level, white level and threshold of an alpha.

Twin of `cuda/levels.cu`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8


def levels(
    alpha_u8: NDArray[np.uint8],
    black: float = 0.0,
    white: float = 1.0,
    threshold: float | None = None,
) -> NDArray[np.uint8]:
    """Alpha with its levels set, the shape of `alpha_u8`, uint8.

    0 at or below `black`, 1 at or above `white`, a straight line between. A `threshold` then splits
    that line's values, before they are rounded: 0 below, 1 from it on. Alpha and levels are
    compared as float32, which is what a request carries: a black level of 0.2 takes 51 / 255 in.

    Args:
        alpha_u8: any shape.
        black: 0..1.
        white: 0..1, more than `black`.
        threshold: 0..1, or None: alpha stays soft.
    """
    low, high = np.float32(black), np.float32(white)
    alpha = alpha_u8 / 255
    line = (alpha - float(low)) / (float(high) - float(low))
    line = np.where(alpha.astype(np.float32) <= low, 0.0, line)
    line = np.where(alpha.astype(np.float32) >= high, 1.0, line)
    if threshold is not None:
        line = (line.astype(np.float32) >= np.float32(threshold)).astype(np.float64)
    return to_u8(255 * line)
