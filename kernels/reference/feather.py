"""Blurs an alpha by a Gaussian.

Twin of `cuda/feather.cu`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8


def feather(alpha_u8: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Alpha with soft edges, (H, W) uint8.

    Each pixel is the mean of all, weighted by a Gaussian of their distance that is sampled at whole
    pixels and sums to 1; beyond the edges the border pixels go on for ever.

    Args:
        alpha_u8: (H, W).
        sigma: standard deviation in pixels, 0 (nothing changes) or more.
    """
    if sigma == 0:
        return alpha_u8.copy()
    height, width = alpha_u8.shape
    return to_u8(_shares(height, sigma) @ alpha_u8.astype(np.float64) @ _shares(width, sigma).T)


def _shares(samples: int, sigma: float) -> NDArray[np.float64]:
    """Which share each of `samples` has in each blurred one, (samples, samples)."""
    reach = math.ceil(6 * sigma)  # what lies beyond is 1e-9 of the whole
    offsets = np.arange(-reach, reach + 1)
    gaussian = np.exp(-(offsets**2) / (2 * sigma**2))
    gaussian /= gaussian.sum()
    table = np.zeros((samples, samples))
    for i in range(samples):
        np.add.at(table[i], np.clip(i + offsets, 0, samples - 1), gaussian)
    return table
