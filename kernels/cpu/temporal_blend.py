"""An alpha steadied by the one before it, where nothing moves.

Called by `server.streams.memory` between the network and the resizing of the alpha; twin of
`kernels.reference.temporal_blend`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.reference.resize_normalise import Channels, Layout, Triple
from kernels.reference.temporal_blend import (
    ALPHA_MOVING,
    ALPHA_STILL,
    CUT,
    LUMA_MOVING,
    LUMA_STILL,
    LUMA_WEIGHTS,
    NEIGHBOURHOOD,
)

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_SIDE = 2 * NEIGHBOURHOOD + 1


def luma_of_plane(
    tensor: F32,
    mean: Triple,
    std: Triple,
    *,
    layout: Layout = "NCHW",
    channels: Channels = "RGB",
) -> U8:
    """Luma of a prepared image, (h, w) uint8, within one level of the twin's `luma_of`.

    Args:
        tensor: (1, 3, h, w) or (1, h, w, 3), as `resize_normalise` gave it.
        mean: of R, G, B, as the tensor was normalised.
        std: the same.
        layout: of the tensor.
        channels: their order in it.
    """
    weights = [255 * w * s for w, s in zip(LUMA_WEIGHTS, std, strict=True)]
    offset = 255 * sum(w * m for w, m in zip(LUMA_WEIGHTS, mean, strict=True))
    if channels == "BGR":
        weights.reverse()
    if layout == "NCHW":
        first, second, third = tensor[0]
        luma = cv2.addWeighted(first, weights[0], second, weights[1], offset)
        luma = cv2.scaleAdd(third, weights[2], luma)
    else:
        luma = cv2.transform(tensor[0], np.array([[*weights, offset]], np.float32))
    # Rounds and saturates; luma is not negative but for rounding.
    return cast(U8, cv2.convertScaleAbs(np.maximum(luma, 0)))


def temporal_blend(
    alpha: F32, previous_alpha: F32, luma_u8: U8, previous_luma_u8: U8, smooth: float
) -> F32:
    """The alpha to show and to remember, (h, w) float32 in [0, 1], within 1e-5 of the twin's.

    Args:
        alpha: (h, w) in [0, 1], of this frame.
        previous_alpha: (h, w), what this function gave for the frame before.
        luma_u8: (h, w), of this frame's plane.
        previous_luma_u8: (h, w), of the frame before.
        smooth: weight of the previous alpha where nothing moves, 0..0.95.
    """
    changed = cv2.absdiff(luma_u8, previous_luma_u8)
    total = cv2.boxFilter(
        changed, cv2.CV_32F, (_SIDE, _SIDE), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    moved = _ramp(total * _weights(*alpha.shape), LUMA_STILL, LUMA_MOVING)
    step = cv2.subtract(previous_alpha, alpha)
    np.maximum(moved, _ramp(np.abs(step), ALPHA_STILL, ALPHA_MOVING), out=moved)
    still = np.subtract(1, moved, out=moved)
    return cast(F32, np.clip(alpha + np.float32(smooth) * still * step, 0, 1))


def is_cut(luma_u8: U8, previous_luma_u8: U8) -> bool:
    """True when two planes of one stream show different scenes."""
    return cv2.norm(luma_u8, previous_luma_u8, cv2.NORM_L1) >= CUT * luma_u8.size


def _ramp(values: F32, low: float, high: float) -> F32:
    ramp = (values - np.float32(low)) / np.float32(high - low)
    return cast(F32, np.clip(ramp, 0, 1, out=ramp))


@lru_cache(maxsize=8)  # planes are as many as there are models
def _weights(height: int, width: int) -> F32:
    """1 / (neighbours that lie inside), (h, w)."""
    inside = np.ones((height, width), np.float32)
    count = cv2.boxFilter(
        inside, cv2.CV_32F, (_SIDE, _SIDE), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    return cast(F32, 1 / count)
