"""How far an alpha is from the truth: one function for each figure, and the list of them.

Called by `server.evaluation.runs`. Every function takes (H, W) alphas in [0, 1], predicted first.
Gradient and connectivity error are those of Rhemann et al., "A Perceptually Motivated Online
Benchmark for Image Matting", CVPR 2009, with its parameters; it sums them over the unknown part of
a trimap, these sum over the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Alpha = NDArray[np.float32]
Mask = NDArray[np.bool_]

SUBJECT_FROM = 0.5  # alpha from which a pixel counts as subject, as in the report's subject box
THOUSAND = 1000.0  # sums over pixels are told in thousands, as the matting benchmarks do
GRADIENT_SIGMA_PX = 1.4  # Rhemann et al., section 4
_GRADIENT_CUT = 0.01  # the filter ends where its Gaussian falls below this
CONNECTIVITY_STEP = 0.1
CONNECTIVITY_SLACK = 0.15  # theta: distances to the connected part below it are no error
BOUNDARY_TOLERANCE = 0.008  # of the diagonal, as in the DAVIS benchmark: 4 px at 400x300
EDGE_REACH_PX = 5


def iou(predicted: Alpha, truth: Alpha) -> float:
    """Intersection over union of both alphas cut at 0.5, 0..1; 1 when both are empty."""
    p, t = predicted >= SUBJECT_FROM, truth >= SUBJECT_FROM
    union = int(np.count_nonzero(p | t))
    return 1.0 if union == 0 else int(np.count_nonzero(p & t)) / union


def mae(predicted: Alpha, truth: Alpha) -> float:
    """Mean absolute difference, 0..1."""
    return float(np.abs(predicted - truth).mean(dtype=np.float64))


def mse(predicted: Alpha, truth: Alpha) -> float:
    """Mean squared difference, 0..1."""
    return float(np.square(predicted - truth).mean(dtype=np.float64))


def sad(predicted: Alpha, truth: Alpha) -> float:
    """Sum of absolute differences in thousands; grows with the image's area."""
    return float(np.abs(predicted - truth).sum(dtype=np.float64)) / THOUSAND


def edge_mae(predicted: Alpha, truth: Alpha) -> float:
    """Mean absolute difference near the true edge, 0..1; 0 when the truth has no edge.

    Near is where the true alpha changes by more than a tenth within 5 px: the only place where
    refining can gain, so this tells apart what `mae` averages away.
    """
    band = edge_band(truth)
    return float(np.abs(predicted - truth)[band].mean(dtype=np.float64)) if band.any() else 0.0


def edge_band(truth: Alpha, reach_px: int = EDGE_REACH_PX) -> Mask:
    """True within `reach_px` of a change of alpha by more than a tenth; (H, W)."""
    brush = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    return np.asarray(cv2.dilate(truth, brush) - cv2.erode(truth, brush) > 0.1)


def gradient_error(predicted: Alpha, truth: Alpha) -> float:
    """Sum over pixels of the squared difference of gradient magnitudes, in thousands.

    Gradients are by first derivatives of a Gaussian of sigma 1.4 px, filters of unit L2 norm,
    borders repeated; the exponent q is 2.
    """
    difference = _gradient(predicted) - _gradient(truth)
    return float(np.square(difference).sum(dtype=np.float64)) / THOUSAND


def connectivity_error(predicted: Alpha, truth: Alpha) -> float:
    """Sum over pixels of the difference in connectedness, in thousands.

    A pixel's level is the last of 0, 0.1, ... 1 at which it still belongs to the largest
    4-connected region where both alphas reach that level. Its connectedness is 1 less how far its
    alpha stands above that level, where that is theta = 0.15 or more; the exponent p is 1.
    """
    level = _connected_level(predicted, truth)
    difference = _connectedness(predicted, level) - _connectedness(truth, level)
    return float(np.abs(difference).sum(dtype=np.float64)) / THOUSAND


def boundary_f(predicted: Alpha, truth: Alpha, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """F-measure of the outlines at alpha 0.5, 0..1; 1 when neither image has one.

    Args:
        predicted: (H, W).
        truth: (H, W).
        tolerance: how far apart matching outlines may be, as a share of the diagonal; 1 px at
            least. Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
            Segmentation", CVPR 2016.
    """
    p, t = outline(predicted), outline(truth)
    if not p.any() or not t.any():
        return 1.0 if p.any() == t.any() else 0.0
    reach_px = max(1.0, round(tolerance * float(np.hypot(*truth.shape))))
    precision = float(np.mean(_distance_to(t)[p] <= reach_px))
    recall = float(np.mean(_distance_to(p)[t] <= reach_px))
    both = precision + recall
    return 2 * precision * recall / both if both > 0 else 0.0


def outline(alpha: Alpha) -> Mask:
    """The subject's pixels that touch what is none, (H, W); the frame itself is no edge."""
    inside = (alpha >= SUBJECT_FROM).astype(np.uint8)
    eroded = cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1)
    return np.asarray((inside == 1) & (eroded == 0))


def fringe(cutout: NDArray[np.float32], true_cutout: NDArray[np.float32]) -> float:
    """How wrong the edge looks on a new background, 0..255; 0 when the truth has no edge.

    The mean absolute difference of colours, cut-out against true cut-out, both laid on black and on
    white, over the pixels near the true edge: what is left of the old background shows here, and
    in no figure of the alpha alone.

    Args:
        cutout: (H, W, 4), straight alpha in [0, 1], RGB in 0..255.
        true_cutout: the same of the truth.
    """
    band = edge_band(np.ascontiguousarray(true_cutout[..., 3]))
    if not band.any():
        return 0.0
    near, true_near = cutout[band], true_cutout[band]
    on_black = near[:, :3] * near[:, 3:] - true_near[:, :3] * true_near[:, 3:]
    on_white = on_black + 255.0 * (true_near[:, 3:] - near[:, 3:])
    return float((np.abs(on_black).mean() + np.abs(on_white).mean()) / 2)


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation of two equally long lists, -1..1.

    None where it says nothing: fewer than three values, or all the same in one of the lists.
    """
    if len(first) < 3:
        return None
    a, b = _ranks(first), _ranks(second)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / spread if spread > 0 else None


def _gradient(alpha: Alpha) -> Alpha:
    """Magnitude of the gradient, (H, W)."""
    sigma = GRADIENT_SIGMA_PX
    peak = np.sqrt(2 * np.pi) * sigma
    half = int(np.ceil(sigma * np.sqrt(-2 * np.log(peak * _GRADIENT_CUT))))
    x = np.arange(-half, half + 1, dtype=np.float64)
    smooth = np.exp(-(x**2) / (2 * sigma**2)) / peak
    slope = -x / sigma**2 * smooth
    # The 2-D filter is the product of these two, so its norm is the product of theirs.
    smooth, slope = smooth / np.linalg.norm(smooth), slope / np.linalg.norm(slope)
    border = cv2.BORDER_REPLICATE
    across = cv2.sepFilter2D(alpha, cv2.CV_32F, slope, smooth, borderType=border)
    down = cv2.sepFilter2D(alpha, cv2.CV_32F, smooth, slope, borderType=border)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _connected_level(predicted: Alpha, truth: Alpha) -> Alpha:
    """The level up to which each pixel is connected, 0..1, (H, W)."""
    both = np.minimum(predicted, truth)
    level = np.ones(both.shape, np.float32)
    settled = np.zeros(both.shape, np.bool_)
    steps = round(1 / CONNECTIVITY_STEP)
    for step in range(1, steps + 1):
        # A hair below, so that an alpha of 8 bits that stands for 0.6 reaches 0.6.
        reaches = (both >= step / steps - 1e-6).astype(np.uint8)
        falls = ~_largest_region(reaches) & ~settled
        level[falls] = (step - 1) / steps
        settled |= falls
    return level


def _largest_region(inside: NDArray[np.uint8]) -> Mask:
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(inside, connectivity=4)
    if count == 1:  # label 0 is the outside
        return np.zeros(inside.shape, np.bool_)
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    return np.asarray(labels == largest)


def _connectedness(alpha: Alpha, level: Alpha) -> Alpha:
    above = alpha - level
    return np.where(above >= CONNECTIVITY_SLACK, 1 - above, np.float32(1))


def _distance_to(marked: Mask) -> Alpha:
    """Distance of every pixel to the nearest marked one, in pixels."""
    unmarked = (~marked).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(unmarked, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value's place in ascending order; equal values share their places' mean."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(((ends - counts) + (ends - 1))[group] / 2.0)


# In the order of the tables; a figure for which more is better stands in BETTER_HIGH.
METRICS: Mapping[str, Callable[[Alpha, Alpha], float]] = {
    "iou": iou,
    "mae": mae,
    "mse": mse,
    "sad": sad,
    "gradient": gradient_error,
    "connectivity": connectivity_error,
    "boundary_f": boundary_f,
    "edge_mae": edge_mae,
}
BETTER_HIGH = frozenset({"iou", "boundary_f"})
