"""The network's alpha brought to the source's size.

Called by `server.host_pipeline`; twin of `kernels.reference.alpha_to_source`.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.resize import resize
from kernels.letterbox import Fit, place

U8 = NDArray[np.uint8]


def alpha_to_source(
    alpha: NDArray[np.float32], width: int, height: int, *, fit: Fit = "stretch"
) -> U8:
    """Alpha at the source's size, (height, width) uint8, letterbox bars cut away.

    Args:
        alpha: (h, w) in [0, 1], covering the network's plane.
        width: columns of the source in pixels.
        height: rows of the source in pixels.
        fit: how the source was placed into the plane.
    """
    at = place((width, height), (alpha.shape[1], alpha.shape[0]), fit)
    inside = alpha[at.top : at.top + at.height, at.left : at.left + at.width]
    # 8 bits first: resizing bytes takes a third of the time of resizing floats at 12 MP.
    return resize(cast(U8, cv2.convertScaleAbs(inside, alpha=255)), width, height)
