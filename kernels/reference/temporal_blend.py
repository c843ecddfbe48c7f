"""An alpha steadied by the one before it, where nothing moves.

Twin of `cuda/temporal_blend.cu` and of `cpu/temporal_blend.py`, which take its thresholds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8

LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # of R, G, B: BT.601
NEIGHBOURHOOD = 2  # pixels to each side: 5x5
# Levels of 255, mean of |difference|. Sensor noise of 3 levels gives 3.4 before the network's plane
# averages it away; an edge of 60 levels that moves by one pixel gives 12.
LUMA_STILL, LUMA_MOVING = 4.0, 12.0
# A flickering alpha changes by less, an edge that passed by more.
ALPHA_STILL, ALPHA_MOVING = 0.2, 0.6
MAX_SMOOTH = 0.95
# Mean |luma - previous luma| of a whole plane, levels of 255: hand-held pans of textured scenes
# stay below 30, two unlike scenes are 50 to 90 apart.
CUT = 40.0


def luma_of(rgb: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Luma, (h, w) uint8, of (h, w, 3) colours in 0..1."""
    return to_u8(255 * (rgb @ np.array(LUMA_WEIGHTS)))


def temporal_blend(
    alpha: NDArray[np.float32],
    previous_alpha: NDArray[np.float32],
    luma_u8: NDArray[np.uint8],
    previous_luma_u8: NDArray[np.uint8],
    smooth: float,
) -> NDArray[np.float64]:
    """The alpha to show and to remember, (h, w) in [0, 1].

    It is `alpha` + w (`previous_alpha` - `alpha`), w = smooth (1 - motion).

    Motion is the larger of two, each 0 up to its first threshold and 1 from its second on: the mean
    of |luma - previous luma| over the 5x5 neighbourhood, as far as it lies inside, and
    |alpha - previous alpha|. A recursive filter with a motion switch, as video noise reducers are
    (McMann et al., A Digital Noise Reducer for Encoded NTSC Signals, SMPTE Journal 1978).

    Args:
        alpha: (h, w) in [0, 1], of this frame.
        previous_alpha: (h, w) in [0, 1], what this function gave for the frame before.
        luma_u8: (h, w), of this frame's plane.
        previous_luma_u8: (h, w), of the frame before.
        smooth: weight of the previous alpha where nothing moves, 0..0.95.
    """
    changed = np.abs(luma_u8.astype(np.float64) - previous_luma_u8)
    ramp = _ramp(_box_mean(changed), LUMA_STILL, LUMA_MOVING)
    difference = np.abs(alpha.astype(np.float64) - previous_alpha)
    motion = np.maximum(ramp, _ramp(difference, ALPHA_STILL, ALPHA_MOVING))
    return alpha + smooth * (1 - motion) * (previous_alpha.astype(np.float64) - alpha)


def is_cut(luma_u8: NDArray[np.uint8], previous_luma_u8: NDArray[np.uint8]) -> bool:
    """True when two planes of one stream show different scenes: nothing of the one before holds."""
    return bool(np.abs(luma_u8.astype(np.float64) - previous_luma_u8).mean() >= CUT)


def _box_mean(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = plane.shape
    result = np.empty_like(plane)
    r = NEIGHBOURHOOD
    for y in range(height):
        for x in range(width):
            result[y, x] = plane[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1].mean()
    return result


def _ramp(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return np.clip((values - low) / (high - low), 0, 1)
