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
    uncertainty: float  # 0 (sure, or nothing painted) to 1: see `doubt`


def alpha_statistics(alpha_u8: NDArray[np.uint8]) -> AlphaStatistics:
    """Box of alpha >= 0.5, mean alpha and uncertainty of an (H, W) alpha."""
    rows, columns = np.nonzero(alpha_u8 >= SUBJECT_LEVEL)
    box = None
    if rows.size:
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    a = alpha_u8[alpha_u8 > UNSURE_ABOVE] / 255
    uncertainty = doubt(float(np.sum(4 * a * (1 - a))), a.size, alpha_u8.size)
    return AlphaStatistics(box, float(np.mean(alpha_u8 / 255)), uncertainty)


def doubt(mixed: float, painted: int, pixels: int) -> float:
    """Half the mean of 4 a (1 - a) over the painted pixels, plus half of that over all pixels.

    The first alone ranks results by IoU and calls every small soft subject bad; the second alone
    ranks them by mean error and trusts a model that painted next to nothing. Even halves rank both
    well, for four models on photos with masks (models/cards/matte-s.md).

    Args:
        mixed: sum of 4 a (1 - a), a in 0..1, over the painted pixels.
        painted: number of pixels with a > 0.05.
        pixels: number of all pixels.
    """
    return mixed * (1 / painted + 1 / pixels) / 2 if painted else 0.0
