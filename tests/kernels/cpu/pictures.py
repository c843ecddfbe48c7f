"""Pictures for the tests of `kernels.cpu`: colours with structure, an alpha with a soft edge."""

from __future__ import annotations

import cv2
import numpy as np

# A pixel, fewer than any window, exact tiles, and sides that no cell or tile fits.
SIZES = [(1, 1), (17, 33), (96, 96), (131, 203)]


def soft_subject(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """RGB (H, W, 3) and alpha (H, W), uint8: noise smoothed to blotches, a soft ellipse."""
    noise = np.random.default_rng(7).integers(0, 256, (height, width, 3)).astype(np.float32)
    blotches = cv2.GaussianBlur(noise, (0, 0), 3)
    rgb = np.clip(128 + 6 * (blotches - 128), 0, 255).astype(np.uint8)
    alpha = np.zeros((height, width), np.uint8)
    axes = (max(width // 3, 1), max(height // 3, 1))
    cv2.ellipse(alpha, (width // 2, height // 2), axes, 20, 0, 360, 255, -1)
    return rgb, cv2.GaussianBlur(alpha, (0, 0), max(1, width / 60))


def largest_difference(first: np.ndarray, second: np.ndarray) -> int:
    """In levels of 255."""
    assert first.shape == second.shape
    assert first.dtype == second.dtype == np.uint8
    return int(np.abs(first.astype(int) - second).max())
