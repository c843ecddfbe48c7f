"""The subject's own colours: takes the old background out of edge pixels.

Twin of `cuda/foreground.cu`. Method: Forte, Pitie, "Approximate Fast Foreground Colour Estimation"
(ICIP 2021), its two blurs; the wide one on cells of pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8

F64 = NDArray[np.float64]
COARSE_CELLS = 11  # radius of the first round
FINE_PIXELS = 6  # radius of the second


def foreground(
    rgb_u8: NDArray[np.uint8],
    alpha_u8: NDArray[np.uint8],
    strength: float = 1.0,
    *,
    cell: int = 8,
) -> NDArray[np.uint8]:
    """Colours of the subject, (H, W, 3) uint8, changed only where 0 < alpha < 255.

    Each round takes local means of the subject's colours, weighted by alpha, and of the
    background's, weighted by what alpha leaves, and then moves the subject's towards what would
    give the picture back. The first round takes the picture for both, over a wide window; the
    second what the first made of them, over a narrow one. Windows are cut at the picture's edges.

    Args:
        rgb_u8: (H, W, 3).
        alpha_u8: (H, W).
        strength: 0 (nothing changes) to 1.
        cell: pixels along the side of the first round's cells, whose window is 23 of them a side.
    """
    own = rgb_u8.astype(np.float64)
    a = alpha_u8[..., None] / 255
    subject = _wide_mean(own, a, cell)
    behind = _wide_mean(own, 1 - a, cell)
    colours = _towards_the_picture(own, a, subject, behind)
    colours = _towards_the_picture(
        own, a, _narrow_mean(colours, a, own), _narrow_mean(behind, 1 - a, own)
    )
    mixed = to_u8(own + strength * (colours - own))
    return np.where((a > 0) & (a < 1), mixed, rgb_u8)


def _towards_the_picture(own: F64, a: F64, subject: F64, behind: F64) -> F64:
    return np.clip(subject + a * (own - a * subject - (1 - a) * behind), 0, 255)


def _narrow_mean(colours: F64, weight: F64, otherwise: F64) -> F64:
    height, width = weight.shape[:2]
    rows, columns = _window(height, FINE_PIXELS), _window(width, FINE_PIXELS)
    total, weights = _apply(rows, columns, colours * weight), _apply(rows, columns, weight)
    return _ratio(total, weights, otherwise)


def _wide_mean(colours: F64, weight: F64, cell: int) -> F64:
    """Weighted mean over cells around each pixel; sums are spread bilinearly, then divided."""
    sides = []
    for pixels in weight.shape[:2]:
        cells = -(-pixels // cell)
        gather = (np.arange(pixels) // cell == np.arange(cells)[:, None]).astype(np.float64)
        centre = np.clip((np.arange(pixels) + 0.5) / cell - 0.5, 0, cells - 1)
        spread = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(cells)))
        sides.append(spread @ _window(cells, COARSE_CELLS) @ gather)
    rows, columns = sides
    total, weights = _apply(rows, columns, colours * weight), _apply(rows, columns, weight)
    return _ratio(total, weights, colours)


def _apply(rows: F64, columns: F64, plane: F64) -> F64:
    """`rows` along the first side of (H, W, C), `columns` along the second."""
    spread: F64 = np.einsum("yi,xj,ijc->yxc", rows, columns, plane, optimize=True)
    return spread


def _window(samples: int, radius: int) -> F64:
    """1 where two samples are at most `radius` apart: sums, not means."""
    index = np.arange(samples)
    near: F64 = (np.abs(index[:, None] - index) <= radius).astype(np.float64)
    return near


def _ratio(total: F64, weights: F64, otherwise: F64) -> F64:
    """`total / weights`; `otherwise` where nothing has weight (less than any alpha can have)."""
    some = np.broadcast_to(weights > 1e-9, total.shape)
    means: F64 = np.divide(total, weights, out=otherwise.copy(), where=some)
    return means
