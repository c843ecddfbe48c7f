"""The subject on nothing and on a colour.

Twins of the functions of the same names in `kernels.cpu`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8


def cutout(rgb_u8: NDArray[np.uint8], alpha_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA, (H, W, 4) uint8 with straight alpha; red, green and blue are 0 where alpha is 0."""
    return np.dstack([rgb_u8 * (alpha_u8[..., None] > 0), alpha_u8]).astype(np.uint8)


def composite(
    rgb_u8: NDArray[np.uint8], alpha_u8: NDArray[np.uint8], color: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """The subject over a colour: (H, W, 3) uint8 on an opaque one, else (H, W, 4) with straight
    alpha.

    Alpha becomes a + A (1 - a), colour (a rgb + A (1 - a) color) divided by that alpha, and 0
    where that alpha is 0.

    Args:
        rgb_u8: (H, W, 3), the subject's colours.
        alpha_u8: (H, W).
        color: red, green, blue and alpha, 0..255 each.
    """
    a = alpha_u8[..., None] / 255
    behind = color[3] / 255 * (1 - a)
    total = a + behind
    mixed = a * rgb_u8 + behind * np.array(color[:3], np.float64)
    colors = to_u8(np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0))
    if color[3] == 255:
        return colors
    alpha_out = to_u8(255 * total)
    return np.dstack([colors * (alpha_out > 0), alpha_out]).astype(np.uint8)
