"""The subject on nothing or on a colour, band by band.

Called by `server.finishing`, and by `server.host_pipeline` for sources with an alpha of their own;
twins of the functions of the same names in `kernels.reference.composite`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

BAND_BYTES = 256 * 1024  # of RGB per band: two bands and their scratch stay in a core's own cache


def cutout(rgb_u8: U8, alpha_u8: U8) -> U8:
    """RGBA, (H, W, 4) uint8 with straight alpha; red, green and blue are 0 where alpha is 0."""
    rgba = np.empty((*alpha_u8.shape, 4), np.uint8)
    for band in _bands(rgb_u8):
        alpha = alpha_u8[band]
        _write_rgba(cast(U8, cv2.copyTo(rgb_u8[band], alpha)), alpha, rgba[band])
    return rgba


def composite(rgb_u8: U8, alpha_u8: U8, color: tuple[int, int, int, int]) -> U8:
    """The subject over a colour: (H, W, 3) uint8 on an opaque one, else (H, W, 4) with straight
    alpha.

    Args:
        rgb_u8: (H, W, 3), the subject's colours.
        alpha_u8: (H, W).
        color: red, green, blue and alpha, 0..255 each.
    """
    if color[3] == 0:
        return cutout(rgb_u8, alpha_u8)
    opaque = color[3] == 255
    share, alpha_after = _over_tables(color[3])
    result = np.empty((*alpha_u8.shape, 3 if opaque else 4), np.uint8)
    behind = np.empty((0, 0, 3), np.uint8)
    for band in _bands(rgb_u8):
        rgb, alpha = rgb_u8[band], alpha_u8[band]
        if behind.shape != rgb.shape:
            behind = np.full(rgb.shape, color[:3], np.uint8)
        weight = cv2.cvtColor(alpha if opaque else cv2.LUT(alpha, share), cv2.COLOR_GRAY2RGB)
        front = cv2.multiply(rgb, weight, scale=1 / 255)
        back = cv2.multiply(behind, cv2.bitwise_not(weight), scale=1 / 255)
        if opaque:
            cv2.add(front, back, dst=result[band])
        else:
            mixed, after = cv2.add(front, back), cv2.LUT(alpha, alpha_after)
            _write_rgba(cast(U8, mixed), cast(U8, after), result[band])
    return result


def _bands(rgb_u8: U8) -> Iterator[slice]:
    """Rows of the image in turn, so that what lies between two steps never leaves the cache."""
    height, width = rgb_u8.shape[:2]
    rows = max(1, BAND_BYTES // (3 * width))
    for top in range(0, height, rows):
        yield slice(top, min(height, top + rows))


def _write_rgba(rgb_u8: U8, alpha_u8: U8, rgba_u8: U8) -> None:
    cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2RGBA, dst=rgba_u8)
    cv2.insertChannel(alpha_u8, rgba_u8, 3)


def _over_tables(background_alpha: int) -> tuple[U8, U8]:
    """For each 8-bit alpha over a colour: the subject's share of the mix, and the alpha after it.

    Args:
        background_alpha: of the colour, 1..255.
    """
    a = np.arange(256) / 255
    total = a + background_alpha / 255 * (1 - a)
    return np.rint(255 * a / total).astype(np.uint8), np.rint(255 * total).astype(np.uint8)
