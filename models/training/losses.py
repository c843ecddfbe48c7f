"""What the network is punished for: wrong area, wrong pixels, and above all wrong edges.

`train.py` calls `matte_loss` once a step. Photos carry hard masks, composites true alphas; the
weight maps let hard masks teach where the subject is without teaching that every edge is hard.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

EDGE_WEIGHT_OF_MASKS = 0.3  # within 2 px of a hard mask's edge the mask itself is a guess
EDGE_BONUS = 0.5
LAPLACIAN_WEIGHT = 0.5
L1_WEIGHT = 1.0


def matte_loss(logits: list[Tensor], batch: Tensor, side_weight: float = 0.3) -> Tensor:
    """Scalar loss for the main logits and, times `side_weight`, for those of each side head.

    `batch` is (N, 4, S, S) in [0, 1]: alpha, near-edge (2 px) map, wide-edge (5 px) map, and a
    constant map that is 1 where the alpha is true (a composite) and 0 where it is a hard mask.
    """
    alpha, near, wide, is_true = (batch[:, i : i + 1] for i in range(4))
    weight = 1.0 - (1.0 - EDGE_WEIGHT_OF_MASKS) * near * (1.0 - is_true)
    main = logits[0]
    bce = functional.binary_cross_entropy_with_logits(main, alpha, reduction="none")
    loss = (bce * weight).mean() + soft_iou(torch.sigmoid(main), alpha)
    edge = wide * weight
    loss = loss + EDGE_BONUS * (bce * edge).sum() / edge.sum().clamp(min=1.0)
    loss = loss + alpha_loss(torch.sigmoid(main), alpha, is_true)
    for side in logits[1:] if side_weight else ():
        # the target at the head's own stride: average pooling keeps thin parts as fractions
        target = functional.adaptive_avg_pool2d(alpha, (side.shape[2], side.shape[3]))
        side_bce = functional.binary_cross_entropy_with_logits(side, target)
        loss = loss + side_weight * (side_bce + soft_iou(torch.sigmoid(side), target))
    return loss


def soft_iou(predicted: Tensor, alpha: Tensor) -> Tensor:
    """1 - soft intersection over union, mean over the batch; 0 when both agree exactly."""
    overlap = torch.minimum(predicted, alpha).sum(dim=(1, 2, 3))
    union = torch.maximum(predicted, alpha).sum(dim=(1, 2, 3))
    # 1 % of the picture as a floor: an empty target costs in proportion to what is painted
    floor = 0.01 * alpha[0].numel()
    missed: Tensor = 1.0 - (overlap + floor) / (union + floor)
    return missed.mean()


def alpha_loss(predicted: Tensor, alpha: Tensor, is_true: Tensor) -> Tensor:
    """L1 and Laplacian-pyramid L1, counted only on pictures whose alpha is true."""
    share = is_true.mean().clamp(min=1e-6)
    difference = (predicted - alpha) * is_true
    loss = L1_WEIGHT * difference.abs().mean() / share
    level_weight = 1.0
    for _ in range(3):
        small = functional.avg_pool2d(difference, 2)
        grown = functional.interpolate(small, scale_factor=2.0, mode="nearest")
        detail = (difference - grown).abs().mean() / share
        loss = loss + LAPLACIAN_WEIGHT * level_weight * detail
        difference = small
        level_weight *= 2.0
    return loss
