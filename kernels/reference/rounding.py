"""Rounding to 8 bits, the same in every twin: to nearest, ties to even.

Called by the other twins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_u8(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """`values`, any shape, as uint8: rounded, then clipped to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
