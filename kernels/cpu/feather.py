"""Blurs an alpha by a Gaussian.

Called by `server.finishing`; twin of `kernels.reference.feather`.
"""

from __future__ import annotations

import math
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

# Beyond it the blur is made of an alpha reduced so far that a sigma of 4 to 8 samples is left:
# 30 pixels of sigma at 1080p take 40 ms at full size, 1 ms like this, within 1 level of 255.
DIRECT_UP_TO = 8.0
REACH = 4.0  # in sigmas: 6e-5 of the whole lies beyond


def feather(alpha_u8: U8, sigma: float) -> U8:
    """Alpha with soft edges, (H, W) uint8, within 2 levels of the twin's.

    Args:
        alpha_u8: (H, W).
        sigma: standard deviation in pixels, 0 (nothing changes) or more.
    """
    if sigma == 0:
        return alpha_u8.copy()
    if sigma <= DIRECT_UP_TO:
        return _blur(alpha_u8, sigma)
    factor = 2 ** math.floor(math.log2(sigma / (DIRECT_UP_TO / 2)))
    height, width = alpha_u8.shape
    reach = -(-math.ceil(REACH * sigma) // factor) * factor
    # Room around it: beyond the edges the border pixels go on for ever, at the reduced size too.
    right, below = -width % factor, -height % factor
    roomy = cv2.copyMakeBorder(
        alpha_u8, reach, reach + below, reach, reach + right, cv2.BORDER_REPLICATE
    )
    full_wh = (roomy.shape[1], roomy.shape[0])
    small_wh = (full_wh[0] // factor, full_wh[1] // factor)
    small = cv2.resize(roomy, small_wh, interpolation=cv2.INTER_AREA).astype(np.float32)
    # Averaging over s pixels and growing linearly by s have variances of their own: (s^2 - 1) / 12
    # and (s^2 - 1) / 6.
    left = math.sqrt(sigma**2 - (factor**2 - 1) / 4) / factor
    soft = cv2.convertScaleAbs(_blur(small, left))
    grown = cv2.resize(soft, full_wh, interpolation=cv2.INTER_LINEAR)
    return cast(U8, np.ascontiguousarray(grown[reach : reach + height, reach : reach + width]))


def _blur(plane: U8 | NDArray[np.float32], sigma: float) -> U8:
    side = 2 * math.ceil(REACH * sigma) + 1
    blurred = cv2.GaussianBlur(plane, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
    return cast(U8, blurred)
