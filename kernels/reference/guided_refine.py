"""Refines an alpha's edges by the picture: guided filter with a colour guide, at reduced scale.

Twin of `cuda/guided_refine.cu`. Method: He, Sun, Tang, "Guided Image Filtering" (2010); He, Sun,
"Fast Guided Filter" (2015).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8

F64 = NDArray[np.float64]


def guided_refine(
    rgb_u8: NDArray[np.uint8],
    alpha_u8: NDArray[np.uint8],
    *,
    scale: int = 4,
    radius: int = 2,
    epsilon: float = 1e-4,
    contrast: float = 0.1,
) -> NDArray[np.uint8]:
    """Alpha whose edges follow the picture's, (H, W) uint8.

    Picture and alpha are averaged over cells of `scale` x `scale` pixels and rounded to 8 bits.
    Within each window of cells alpha is taken for a linear function of the colour; the function
    that fits best, kept small by `epsilon`, counts by how much of an edge the window holds,
    min(1, 16 m (1 - m)) for a mean alpha m, and the alpha as it was for the rest. The means of all
    windows that a cell lies in, bilinear between the cells' centres, are applied to every pixel;
    what they give is stretched by `contrast`. A pixel with no edge within 2 radius + 1 cells keeps
    its alpha.

    Args:
        rgb_u8: (H, W, 3).
        alpha_u8: (H, W).
        scale: pixels along a cell's side; cells at the right and at the bottom may be smaller.
        radius: of the window in cells: it has 2 radius + 1 a side, fewer at the picture's edges.
        epsilon: variance below which a window counts as flat, in units where white is 1.
        contrast: alpha up to it becomes 0, from 1 - contrast on 1, a straight line between.
    """
    height, width = alpha_u8.shape
    both = np.dstack([rgb_u8, alpha_u8]).astype(np.float64)
    cells = np.rint(_cell_means(both, scale)) / 255
    guide, alpha = cells[..., :3], cells[..., 3]

    mean_guide, mean_alpha = _box(guide, radius), _box(alpha, radius)
    with_alpha = _box(guide * alpha[..., None], radius) - mean_guide * mean_alpha[..., None]
    products = guide[..., :, None] * guide[..., None, :]  # (h, w, 3, 3)
    covariance = _box(products, radius) - mean_guide[..., :, None] * mean_guide[..., None, :]
    slope = np.linalg.solve(covariance + epsilon * np.eye(3), with_alpha[..., None])[..., 0]
    offset = mean_alpha - (slope * mean_guide).sum(axis=-1)
    sure = np.minimum(1, 16 * mean_alpha * (1 - mean_alpha))

    line = np.dstack([sure[..., None] * slope, sure * offset, sure])  # (h, w, 5)
    rows, columns = _spread(height, scale, line.shape[0]), _spread(width, scale, line.shape[1])
    at_pixels = np.einsum("yi,xj,ijc->yxc", rows, columns, _box(line, radius), optimize=True)
    fitted = (at_pixels[..., :3] * rgb_u8 / 255).sum(axis=-1) + at_pixels[..., 3]
    weight = at_pixels[..., 4]
    refined = np.divide(fitted, weight, out=np.zeros_like(fitted), where=weight > 0)
    refined = np.clip((refined - contrast) / (1 - 2 * contrast), 0, 1)
    return to_u8(255 * weight * refined + (1 - weight) * alpha_u8)


def _cell_means(pixels: F64, scale: int) -> F64:
    height, width, channels = pixels.shape
    means = np.zeros((-(-height // scale), -(-width // scale), channels))
    for y, x in np.ndindex(means.shape[:2]):
        cell = pixels[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
        means[y, x] = cell.sum(axis=(0, 1)) / (cell.shape[0] * cell.shape[1])
    return means


def _box(plane: F64, radius: int) -> F64:
    """Means over windows of `radius` around each cell, cut at the edges; (h, w, ...)."""
    rows, columns = _window(plane.shape[0], radius), _window(plane.shape[1], radius)
    means: F64 = np.einsum("yi,xj,ij...->yx...", rows, columns, plane, optimize=True)
    return means


def _window(samples: int, radius: int) -> F64:
    index = np.arange(samples)
    table = (np.abs(index[:, None] - index) <= radius).astype(np.float64)
    means: F64 = table / table.sum(axis=1, keepdims=True)
    return means


def _spread(pixels: int, scale: int, cells: int) -> F64:
    """Shares of the cells in each pixel, bilinear between their centres: (pixels, cells)."""
    centre = np.clip((np.arange(pixels) + 0.5) / scale - 0.5, 0, cells - 1)
    shares: F64 = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(cells)))
    return shares
