"""What an alpha says about its image.

Twin of `kernels.cpu.alpha_statistics` and of `cuda/alpha_statistics.cu`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SUBJECT_LEVEL = 128  # alpha >= 0.5, in 8 bits
UNSURE_ABOVE = 12  # alpha > 0.05 is 8-bit alpha >= 13: 12 / 255 = 0.047, 13 / 255 = 0.051


@dataclass(frozen=True, slots=True)
class AlphaStatistics:
    """What an alpha says about its image, as the report carries it."""

    box: tuple[int, int, int, int] | None  # left, top, right, bottom; the last two just past it
    coverage: float  # mean alpha, 0..1
    uncertainty: float  # mean of 4 a (1 - a) over pixels with a > 0.05, 0..1; 0 when there are none


def alpha_statistics(alpha_u8: NDArray[np.uint8]) -> AlphaStatistics:
    """Box of alpha >= 0.5, mean alpha and uncertainty of an (H, W) alpha."""
    rows, columns = np.nonzero(alpha_u8 >= SUBJECT_LEVEL)
    box = None
    if rows.size:
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    a = alpha_u8[alpha_u8 > UNSURE_ABOVE] / 255
    uncertainty = float(np.mean(4 * a * (1 - a))) if a.size else 0.0
    return AlphaStatistics(box, float(np.mean(alpha_u8 / 255)), uncertainty)
