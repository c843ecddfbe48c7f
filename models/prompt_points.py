"""Prompts as lists of places with labels, and the choice among the masks that come back: the
interface of the Segment Anything family's ONNX exports.

Called by `models.prompt_model` for `prompts = "points"`.
"""

from __future__ import annotations

import cv2
import numpy as np

from kernels.letterbox import Placement
from models.prompts import F32, Prompts

WANTED, UNWANTED, CORNER_FIRST, CORNER_LAST, PADDING = 1.0, 0.0, 2.0, 3.0, -1.0
SURE = 10.0  # logit of an earlier mask's inside; its outside is -10


def point_lists(prompts: Prompts, at: Placement, *, padding_point: bool) -> tuple[F32, F32]:
    """Places (P, 2) float32, x before y, in pixels of the plane, and labels (P,) float32.

    Args:
        prompts: in shares of the picture.
        at: where the picture lies in the plane.
        padding_point: without a box, add the point that stands for none.
    """
    places: list[tuple[float, float]] = []
    labels: list[float] = []
    for click in prompts.clicks:
        places.append((at.left + click.x * at.width, at.top + click.y * at.height))
        labels.append(WANTED if click.wanted else UNWANTED)
    box = prompts.box
    if box is not None:
        places.append((at.left + box.left * at.width, at.top + box.top * at.height))
        places.append((at.left + box.right * at.width, at.top + box.bottom * at.height))
        labels += [CORNER_FIRST, CORNER_LAST]
    elif padding_point:
        places.append((0.0, 0.0))
        labels.append(PADDING)
    return (
        np.array(places, np.float32).reshape(-1, 2),
        np.array(labels, np.float32),
    )


def earlier_logits(
    earlier: F32 | None, at: Placement, plane_wh: tuple[int, int], width: int, height: int
) -> F32:
    """An earlier alpha as logits over the plane, (height, width) float32; zeros where there is
    none.

    Args:
        earlier: (h, w) in [0, 1], covering the picture.
        at: where the picture lies in the plane.
        plane_wh: the plane's size in pixels.
        width: columns of the result.
        height: rows of the result.
    """
    if earlier is None:
        return np.zeros((height, width), np.float32)
    across, down = width / plane_wh[0], height / plane_wh[1]
    left, top = round(at.left * across), round(at.top * down)
    right = max(left + 1, round((at.left + at.width) * across))
    bottom = max(top + 1, round((at.top + at.height) * down))
    logits = np.full((height, width), -SURE, np.float32)
    size = (min(right, width) - left, min(bottom, height) - top)
    small = cv2.resize(earlier, size, interpolation=cv2.INTER_AREA)
    logits[top:bottom, left:right] = (small - 0.5) * (2 * SURE)
    return logits


def best_mask(scores: F32, prompts: Prompts) -> int:
    """The index of the mask to take.

    One mask is taken as it is. Of four, the first is the answer to several prompts at once and the
    others are its readings of a single click (part, whole, group), so a lone click takes the best
    of these. Of any other number the best counts.

    Args:
        scores: (M,), the model's estimates.
        prompts: what was asked.
    """
    if len(scores) != 4:
        return int(scores.argmax())
    alone = len(prompts.clicks) == 1 and prompts.box is None and prompts.earlier is None
    return 1 + int(scores[1:].argmax()) if alone else 0
