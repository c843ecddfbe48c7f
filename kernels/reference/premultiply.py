"""Colours times alpha, and back, in whole numbers.

Twin of `cuda/premultiply.cu`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def premultiply(rgba_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 4) uint8 with colours c a / 255, rounded to nearest; a tie cannot happen.

    Args:
        rgba_u8: (H, W, 4), straight alpha.
    """
    wide = rgba_u8.astype(np.int64)
    alpha = wide[..., 3:]
    colors = (2 * wide[..., :3] * alpha + 255) // 510
    return np.concatenate([colors, alpha], axis=-1).astype(np.uint8)


def unpremultiply(rgba_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 4) uint8 with colours 255 c / a, rounded to nearest, ties up, at most 255; 0 where a
    is 0.

    Args:
        rgba_u8: (H, W, 4), premultiplied.
    """
    wide = rgba_u8.astype(np.int64)
    alpha = wide[..., 3:]
    colors = (510 * wide[..., :3] + alpha) // np.maximum(2 * alpha, 1)
    colors = np.where(alpha > 0, np.minimum(colors, 255), 0)
    return np.concatenate([colors, alpha], axis=-1).astype(np.uint8)
