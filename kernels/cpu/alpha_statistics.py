"""What the report says of an alpha: box, coverage, uncertainty.

Called by the pipelines; twin of `kernels.reference.alpha_statistics`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.reference import SUBJECT_LEVEL, UNSURE_ABOVE, AlphaStatistics, doubt

U8 = NDArray[np.uint8]


def alpha_statistics(alpha_u8: U8) -> AlphaStatistics:
    """Box of alpha >= 0.5, mean alpha and uncertainty of an (H, W) alpha."""
    # What is 0 adds nothing to any of the figures, and mostly that is half of the picture or more.
    x, y, columns, rows = cv2.boundingRect(alpha_u8)
    painted_u8 = alpha_u8[y : y + rows, x : x + columns]
    if not painted_u8.size:
        return AlphaStatistics(None, 0.0, doubt(0.0, 0, alpha_u8.size))
    _, subject = cv2.threshold(painted_u8, SUBJECT_LEVEL - 1, 255, cv2.THRESH_BINARY)
    left, top, width, height = cv2.boundingRect(subject)
    left, top = left + x, top + y
    box = (left, top, left + width, top + height) if width else None
    coverage = cv2.sumElems(painted_u8)[0] / (255 * alpha_u8.size)
    # The sum of 4 a (1 - a) needs only the sums of a and of a * a, whole numbers. OpenCV squares
    # a square root to get the second, hence the rounding.
    _, unsure = cv2.threshold(painted_u8, UNSURE_ABOVE, 255, cv2.THRESH_TOZERO)
    painted = cv2.countNonZero(unsure)
    total, squares = cv2.sumElems(unsure)[0], round(cv2.norm(unsure, cv2.NORM_L2SQR))
    mixed = 4 * (255 * total - squares) / 255**2
    return AlphaStatistics(box, coverage, doubt(mixed, painted, alpha_u8.size))
