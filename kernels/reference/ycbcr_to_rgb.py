"""Red, green and blue of a YCbCr picture.

Twin of `read_rgb` in `cuda/prelude.cuh`, for NV12 and I420.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.image import YCbCr


def ycbcr_to_rgb(
    luma_u8: NDArray[np.uint8],
    cb_u8: NDArray[np.uint8],
    cr_u8: NDArray[np.uint8],
    ycbcr: YCbCr,
) -> NDArray[np.float64]:
    """RGB, (H, W, 3) in 0..255, not rounded; each chroma sample stands for its 2x2 block.

    Args:
        luma_u8: (H, W).
        cb_u8: (ceil(H / 2), ceil(W / 2)).
        cr_u8: the same.
        ycbcr: the matrix.
    """
    height, width = luma_u8.shape
    cb, cr = (
        plane.astype(np.float64).repeat(2, axis=0).repeat(2, axis=1)[:height, :width] - 128
        for plane in (cb_u8, cr_u8)
    )
    luma = (luma_u8.astype(np.float64) - ycbcr.luma_offset) * ycbcr.luma_scale
    red = luma + ycbcr.cr_to_r * cr
    green = luma + ycbcr.cb_to_g * cb + ycbcr.cr_to_g * cr
    blue = luma + ycbcr.cb_to_b * cb
    return np.clip(np.dstack([red, green, blue]), 0, 255)
