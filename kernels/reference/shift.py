"""Moves the edge of an alpha's subject outwards or inwards.

Twin of `cuda/shift.cu`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8

STEP = 15  # pixels


def shift(alpha_u8: NDArray[np.uint8], pixels: float) -> NDArray[np.uint8]:
    """Alpha whose subject is `pixels` larger on every side, smaller where negative: (H, W) uint8.

    Growing takes the largest alpha within a disc, which moves soft edges without making them softer
    or harder. Between whole distances it is the mean of the two nearest, by their closeness.
    Distances beyond 15 pixels are gone in steps of 15 and a rest. Shrinking is growing of what is
    not the subject. Pixels outside the picture take no part.

    Args:
        alpha_u8: (H, W).
        pixels: of the source, parts of one allowed.
    """
    if pixels < 0:
        return 255 - shift(255 - alpha_u8, -pixels)
    while pixels > STEP:
        alpha_u8 = _largest_in_disc(alpha_u8, STEP)
        pixels -= STEP
    whole = int(pixels)
    near, far = (_largest_in_disc(alpha_u8, n).astype(np.float64) for n in (whole, whole + 1))
    return to_u8(near + (pixels - whole) * (far - near))


def _largest_in_disc(alpha_u8: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """The largest alpha within `radius` pixels.

    dx^2 + dy^2 <= radius^2 + radius / 2: rounder than without the second term, and along rows and
    columns the reach is `radius` all the same.
    """
    height, width = alpha_u8.shape
    grown = alpha_u8.copy()
    for dy in range(-radius, radius + 1):
        half = math.isqrt(radius**2 + radius // 2 - dy**2)
        for dx in range(-half, half + 1):
            if abs(dy) >= height or abs(dx) >= width:
                continue
            to = grown[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
            at = alpha_u8[max(0, dy) : height - max(0, -dy), max(0, dx) : width - max(0, -dx)]
            np.maximum(to, at, out=to)
    return grown
