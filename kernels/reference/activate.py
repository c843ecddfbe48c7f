"""The network's raw answer as alphas.

Twin of `cuda/activate.cu`; the same formulas as `models.model` uses on the CPU.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Activation = Literal["none", "sigmoid", "softmax", "minmax"]

FLAT = 1e-6  # a range below this is a plain image, which min-max would blow up into noise


def activate(
    planes: NDArray[np.floating], channel: int = 0, activation: Activation = "none"
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Alphas, (N, h, w) float32 in [0, 1], and flags, (N,) uint32: 1 where the answer is nonsense.

    Args:
        planes: (C, N, h, w), the network's raw answer.
        channel: which one is the subject.
        activation: "none", "sigmoid", "softmax" over the channels, or "minmax": each image
            stretched to 0..1 unless its range is at most `FLAT`. The result is clipped to 0..1.
            A pixel that is not finite in some channel becomes 0 and sets its image's flag; minmax
            leaves out what is not finite.
    """
    values = planes.astype(np.float64)
    good = np.isfinite(values).all(axis=0)
    flags = np.any(~good, axis=(1, 2)).astype(np.uint32)
    numbers = np.isfinite(values[channel])
    values = np.where(np.isfinite(values), values, 0)
    x = values[channel]
    if activation == "sigmoid":
        x = 1 / (1 + np.exp(-np.clip(x, -30, 30)))
    elif activation == "softmax":
        powers = np.exp(values - values.max(axis=0))
        x = powers[channel] / powers.sum(axis=0)
    elif activation == "minmax":
        lowest = np.where(numbers, x, np.inf).min(axis=(1, 2), keepdims=True)
        reach = np.where(numbers, x, -np.inf).max(axis=(1, 2), keepdims=True) - lowest
        x = np.where(reach > FLAT, (x - lowest) / np.maximum(reach, FLAT), x)
    return np.where(good, np.clip(x, 0, 1), 0).astype(np.float32), flags
