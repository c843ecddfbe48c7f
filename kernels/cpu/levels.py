"""Black level, white level and threshold of an alpha, by a table.

Called by `server.finishing`; the twin, `kernels.reference.levels`, fills the table.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.reference.levels import levels as of_values

U8 = NDArray[np.uint8]


def levels(
    alpha_u8: U8, black: float = 0.0, white: float = 1.0, threshold: float | None = None
) -> U8:
    """Alpha with its levels set, (H, W) uint8; see the twin.

    Args:
        alpha_u8: (H, W).
        black: 0..1; alpha up to it becomes 0.
        white: 0..1, more than `black`; alpha from it on becomes 1.
        threshold: 0..1, or None: alpha stays soft.
    """
    table = of_values(np.arange(256, dtype=np.uint8), black, white, threshold)
    return cast(U8, cv2.LUT(alpha_u8, table))
