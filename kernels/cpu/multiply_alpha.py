"""Two alphas at once: of the network and of the source itself.

Called by `server.host_pipeline`; twin of `kernels.reference.multiply_alpha`.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]


def multiply_alpha(first_u8: U8, second_u8: U8) -> U8:
    """The product of two (H, W) alphas, (H, W) uint8: opaque only where both are."""
    return cast(U8, cv2.multiply(first_u8, second_u8, scale=1 / 255))
