"""A picture made smaller before anything is done to it: `RemoveOptions.max_megapixels`.

Called by the pipelines right after decoding.
All that follows sees the smaller picture only, as if the caller had sent it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from kernels.cpu.resize import resize
from server.codecs.decode import Decoded


def size_within(width: int, height: int, max_megapixels: float) -> tuple[int, int]:
    """Columns and rows of a picture of `width` x `height` brought to at most `max_megapixels`.

    Args:
        width: px, 1 or more.
        height: px, 1 or more.
        max_megapixels: millions of pixels; 0 leaves every picture as it is.
    """
    most = max_megapixels * 1e6
    if not most or width * height <= most:
        return width, height
    factor = math.sqrt(most / (width * height))
    # Rounded down, so that the product keeps the limit; a side of no pixel is none.
    return max(1, int(width * factor)), max(1, int(height * factor))


def shrunk(decoded: Decoded, max_megapixels: float) -> Decoded:
    """`decoded` over area at the size that `size_within` gives; itself where it is small enough."""
    rows, columns = decoded.rgb.shape[:2]
    width, height = size_within(columns, rows, max_megapixels)
    if (width, height) == (columns, rows):
        return decoded
    note = f"the picture was made smaller first, from {columns}x{rows} to {width}x{height} pixels"
    alpha = decoded.alpha
    return replace(
        decoded,
        rgb=np.ascontiguousarray(resize(decoded.rgb, width, height)),
        alpha=None if alpha is None else np.ascontiguousarray(resize(alpha, width, height)),
        notes=(*decoded.notes, note),
    )
