"""The product of two alphas: what the network found of what the source itself shows.

Twin of `kernels.cpu.multiply_alpha`; `cuda/finish.cu` does it on the way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8


def multiply_alpha(first_u8: NDArray[np.uint8], second_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The product of two (H, W) alphas, (H, W) uint8: opaque only where both are."""
    return to_u8(first_u8.astype(np.float64) * second_u8 / 255)
