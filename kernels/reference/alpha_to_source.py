"""The network's alpha at the size of the picture it was made from.

Twin of `kernels.cpu.alpha_to_source` and of `cuda/alpha_to_source.cu`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.letterbox import Fit, place
from kernels.reference.resize import resize
from kernels.reference.rounding import to_u8


def alpha_to_source(
    alpha: NDArray[np.float32], width: int, height: int, *, fit: Fit = "stretch"
) -> NDArray[np.uint8]:
    """Alpha at the source's size, (height, width) uint8, letterbox bars cut away.

    Args:
        alpha: (h, w) in [0, 1], covering the network's plane.
        width: columns of the source in pixels.
        height: rows of the source in pixels.
        fit: how the source was placed into the plane.
    """
    at = place((width, height), (alpha.shape[1], alpha.shape[0]), fit)
    inside = alpha[at.top : at.top + at.height, at.left : at.left + at.width]
    return to_u8(255 * resize(inside.astype(np.float64), width, height))
