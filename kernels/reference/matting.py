"""The matting Laplacian as a matrix: how much each pair of pixels wants to have the same alpha.

Twin of `kernels.cpu.matting_laplacian`, which never builds it. Method: Levin, Lischinski, Weiss, "A
Closed-Form Solution to Natural Image Matting" (2008), equation 12; larger windows as in He, Sun,
Tang, "Fast Matting Using Large Kernel Matting Laplacian Matrices" (2010).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def matting_laplacian(guide: F64, radius: int, epsilon: float) -> F64:
    """The Laplacian of a small picture, (H W, H W), symmetric; each row sums to 0.

    Within each window alpha is taken for a linear function of the colour plus a rest; what the
    best function leaves over, summed over all windows, is alpha^T L alpha. Windows are cut at the
    picture's edges.

    Args:
        guide: (H, W, 3), colours in units where white is 1.
        radius: of a window in pixels: it has 2 radius + 1 a side.
        epsilon: added to the windows' variances; keeps the functions of flat windows small.
    """
    height, width = guide.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    laplacian = np.zeros((number.size, number.size))
    for y, x in np.ndindex(height, width):
        window = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        members, colours = number[window].ravel(), guide[window].reshape(-1, 3)
        count = len(members)
        apart = colours - colours.mean(axis=0)
        covariance = apart.T @ apart / count + epsilon * np.eye(3)
        alike = (1 + apart @ np.linalg.solve(covariance, apart.T)) / count
        laplacian[np.ix_(members, members)] += np.eye(count) - alike
    return laplacian
