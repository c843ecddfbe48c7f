"""Removes small separate pieces of the subject, and fills small holes in it.

Called by `server.finishing`. There is no kernel of it: connected pieces are OpenCV's own work.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.reference import SUBJECT_LEVEL

U8 = NDArray[np.uint8]


def remove_specks(alpha_u8: U8, min_area_px: int) -> U8:
    """Alpha without the pieces of the subject that are smaller than `min_area_px`, (H, W) uint8.

    A piece is made of pixels with alpha of 0.5 or more that touch by a side or a corner; they are
    its area. A fainter pixel belongs to the piece that is nearest and goes with it. Where nothing
    reaches 0.5 there are no pieces, and nothing changes.

    Args:
        alpha_u8: (H, W).
        min_area_px: pixels; 0 and 1 change nothing.
    """
    return _without_small(alpha_u8, SUBJECT_LEVEL, min_area_px, connectivity=8, spare_border=False)


def fill_holes(alpha_u8: U8, min_area_px: int) -> U8:
    """Alpha without the holes that are smaller than `min_area_px`, (H, W) uint8.

    A hole is made of pixels with alpha below 0.5 that touch by a side, none of them at the
    picture's edge. A pixel of 0.5 and more belongs to the hole or background that is nearest, so a
    hole's soft rim becomes opaque with it, and so does whatever lies between it and half the way to
    the next background.

    Args:
        alpha_u8: (H, W).
        min_area_px: pixels; 0 and 1 change nothing.
    """
    inverted = cast(U8, cv2.bitwise_not(alpha_u8))
    level = 256 - SUBJECT_LEVEL
    filled = _without_small(inverted, level, min_area_px, connectivity=4, spare_border=True)
    return cast(U8, cv2.bitwise_not(filled))


def _without_small(
    alpha_u8: U8, level: int, min_area_px: int, *, connectivity: int, spare_border: bool
) -> U8:
    if min_area_px <= 1:
        return alpha_u8.copy()
    _, pieces = cv2.threshold(alpha_u8, level - 1, 255, cv2.THRESH_BINARY)
    _, labels, table, _ = cv2.connectedComponentsWithStats(pieces, connectivity=connectivity)
    small = table[:, cv2.CC_STAT_AREA] < min_area_px
    small[0] = False  # what is no piece
    if spare_border:
        left, top = table[:, cv2.CC_STAT_LEFT], table[:, cv2.CC_STAT_TOP]
        right = left + table[:, cv2.CC_STAT_WIDTH]
        bottom = top + table[:, cv2.CC_STAT_HEIGHT]
        height, width = alpha_u8.shape
        small &= (left > 0) & (top > 0) & (right < width) & (bottom < height)
    if not small.any():
        return alpha_u8.copy()
    if small[1:].all():
        return np.zeros_like(alpha_u8)
    # Two distances decide whose a faint pixel is: to what goes and to what stays.
    going = small[labels].view(np.uint8)
    _, goes = cv2.threshold(going, 0, 255, cv2.THRESH_BINARY_INV)
    stays = cast(U8, cv2.bitwise_not(cv2.bitwise_and(pieces, goes)))
    to_going = cv2.distanceTransform(goes, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_staying = cv2.distanceTransform(stays, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    lost = cv2.compare(to_going, to_staying, cv2.CMP_LT)
    return cast(U8, cv2.copyTo(alpha_u8, cv2.bitwise_not(lost)))
