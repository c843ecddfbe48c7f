"""Moves the edge of an alpha's subject outwards or inwards.

Called by `server.finishing`; twin of `kernels.reference.shift`, whose discs it uses.
"""

from __future__ import annotations

import math
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.reference.shift import STEP

U8 = NDArray[np.uint8]


def shift(alpha_u8: U8, pixels: float) -> U8:
    """Alpha whose subject is `pixels` larger on every side, smaller where negative, (H, W) uint8;
    the twin's to a level.

    Args:
        alpha_u8: (H, W).
        pixels: of the source, parts of one allowed.
    """
    if pixels < 0:
        return cast(U8, cv2.bitwise_not(shift(cast(U8, cv2.bitwise_not(alpha_u8)), -pixels)))
    top, bottom, left, right = _reached(alpha_u8, math.ceil(pixels) + 1)
    if top == bottom:
        return alpha_u8.copy()
    grown = alpha_u8[top:bottom, left:right]
    while pixels > STEP:
        grown = _largest_in_disc(grown, STEP)
        pixels -= STEP
    whole = int(pixels)
    near = _largest_in_disc(grown, whole)
    if pixels > whole:
        share = pixels - whole
        far = _largest_in_disc(grown, whole + 1)
        near = cast(U8, cv2.addWeighted(near, 1 - share, far, share, 0))
    result = alpha_u8.copy()
    result[top:bottom, left:right] = near
    return result


def _reached(alpha_u8: U8, reach: int) -> tuple[int, int, int, int]:
    """First and past-last row and column that growing by `reach` can change; equal: none."""
    left, top, width, height = cv2.boundingRect(alpha_u8)
    if width == 0:
        return 0, 0, 0, 0
    rows, columns = alpha_u8.shape
    return (
        max(0, top - reach),
        min(rows, top + height + reach),
        max(0, left - reach),
        min(columns, left + width + reach),
    )


def _largest_in_disc(alpha_u8: U8, radius: int) -> U8:
    """The largest alpha within `radius` pixels, of the disc that the twin describes.

    A disc is the union of rectangles, and a rectangle's largest is the fastest there is in OpenCV:
    its rows and columns are done one after the other. 15 pixels at 1080p take 9 ms, a disc of its
    own 60.
    """
    if radius == 0:
        return alpha_u8
    result: U8 | None = None
    last = -1
    for dy in range(radius, -1, -1):
        half = math.isqrt(radius**2 + radius // 2 - dy**2)
        if half == last:
            continue  # the taller rectangle of the same width holds this one
        last = half
        kernel = np.ones((2 * dy + 1, 2 * half + 1), np.uint8)
        grown = cast(U8, cv2.dilate(alpha_u8, kernel))
        result = grown if result is None else cast(U8, cv2.max(result, grown))
    assert result is not None
    return result
