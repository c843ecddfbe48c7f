"""How good an alpha is, in four numbers; numpy and OpenCV only, so that every test run has them.

`train.py` follows a run with `iou` and `mae`; `evaluate.py` prints all of them side by side.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Alpha = NDArray[np.float32]


def iou(predicted: Alpha, truth: Alpha) -> float:
    """Intersection over union of both (H, W) alphas cut at 0.5; 1.0 when both are empty."""
    p, t = predicted >= 0.5, truth >= 0.5
    union = int(np.count_nonzero(p | t))
    return 1.0 if union == 0 else int(np.count_nonzero(p & t)) / union


def mae(predicted: Alpha, truth: Alpha) -> float:
    """Mean absolute difference of two (H, W) alphas, in [0, 1]."""
    return float(np.abs(predicted.astype(np.float64) - truth).mean())


def boundary_f(predicted: Alpha, truth: Alpha, tolerance: float = 0.0075) -> float:
    """F-measure of the 0.5 contours, a pixel matching within `tolerance` of the diagonal.

    0.0075 is DAVIS's own tolerance: 3 px on a 400 px photo's diagonal. 1.0 when neither has an
    edge.
    """
    p, t = outline(predicted), outline(truth)
    if not p.any() and not t.any():
        return 1.0
    if not p.any() or not t.any():
        return 0.0
    reach_px = max(1, round(tolerance * float(np.hypot(*truth.shape))))
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach_px + 1, 2 * reach_px + 1))
    near_t = cv2.dilate(t.astype(np.uint8), brush) > 0
    near_p = cv2.dilate(p.astype(np.uint8), brush) > 0
    precision = np.count_nonzero(p & near_t) / np.count_nonzero(p)
    recall = np.count_nonzero(t & near_p) / np.count_nonzero(t)
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def outline(alpha: Alpha) -> NDArray[np.bool_]:
    """The pixels inside the 0.5 contour that touch its outside; the frame itself is no edge."""
    inside = (alpha >= 0.5).astype(np.uint8)
    eroded = cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1)
    return np.asarray((inside == 1) & (eroded == 0))


def soft_band_mae(predicted: Alpha, truth: Alpha, reach_px: int = 5) -> float:
    """MAE where the true alpha is soft or within `reach_px` of its edge; 0.0 without an edge."""
    brush = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    spread = cv2.dilate(truth, brush) - cv2.erode(truth, brush)
    band = spread > 0.1
    if not band.any():
        return 0.0
    return float(np.abs(predicted[band].astype(np.float64) - truth[band]).mean())


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's correlation of two equally long 1-D arrays, -1..1; 0.0 where one is constant."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / spread if spread > 0 else 0.0


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value's place in ascending order, from 0; equal values share their places' mean."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts) + (ends - 1))[group] / 2.0
