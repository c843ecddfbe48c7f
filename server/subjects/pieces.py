"""An alpha taken apart into its connected pieces, each with its soft edge.

Called by `server.subjects.wish` for the largest, by `server.subjects.segmenter` for all of them.
Subjects that touch are one piece: to part them takes prompts.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu import alpha_statistics
from kernels.reference import SUBJECT_LEVEL

U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom just past the last

# What is smaller is a speck of the model's and no subject: of the picture, and of the largest one.
LEAST_OF_PICTURE = 0.0005
LEAST_OF_LARGEST = 0.01


class Piece(NamedTuple):
    """One subject."""

    alpha_u8: U8  # (H, W)
    box: Box  # around alpha >= 0.5
    coverage: float  # mean alpha over the picture, 0..1

    @classmethod
    def of(cls, alpha_u8: U8) -> Piece | None:
        """The whole alpha as one subject; None where nothing reaches 0.5."""
        box = alpha_statistics(alpha_u8).box
        return None if box is None else cls(alpha_u8, box, float(cv2.mean(alpha_u8)[0]) / 255)


def pieces(alpha_u8: U8, most: int) -> list[Piece]:
    """Up to `most` subjects of an (H, W) alpha, largest first; none where nothing reaches 0.5."""
    labels, order, boxes = _labelled(alpha_u8)
    if not order:
        return []
    if len(order) == 1:
        # Specks too small to count go with it.
        return [_piece(largest(alpha_u8), boxes[order[0]])]
    owner = _owners(alpha_u8, labels, order)
    found = []
    for label in order[:most]:
        mine = np.where(owner == label, alpha_u8, np.uint8(0))
        found.append(_piece(mine, boxes[label]))
    return found


def largest(alpha_u8: U8) -> U8:
    """The largest piece alone, (H, W); the alpha itself where there is one piece or none."""
    labels, order, _ = _labelled(alpha_u8)
    if not order or labels.max() == 1:
        return alpha_u8
    owner = _owners(alpha_u8, labels, list(range(1, int(labels.max()) + 1)))
    return np.where(owner == order[0], alpha_u8, np.uint8(0))


def _piece(alpha_u8: U8, box: Box) -> Piece:
    return Piece(alpha_u8, box, float(cv2.mean(alpha_u8)[0]) / 255)


def _labelled(alpha_u8: U8) -> tuple[NDArray[np.int32], list[int], dict[int, Box]]:
    """Labels from 1 on of the pieces with alpha >= 0.5, those that count by falling area, and every
    one's box.
    """
    _, sure = cv2.threshold(alpha_u8, SUBJECT_LEVEL - 1, 255, cv2.THRESH_BINARY)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(sure, connectivity=8)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    boxes = {
        label: (int(x), int(y), int(x + wide), int(y + high))
        for label, (x, y, wide, high) in enumerate(stats[1:count, :4], start=1)
    }
    if count == 1:
        return np.asarray(labels, np.int32), [], boxes
    least = max(LEAST_OF_PICTURE * alpha_u8.size, LEAST_OF_LARGEST * int(areas.max()))
    order = [int(index) + 1 for index in np.argsort(-areas, kind="stable") if areas[index] >= least]
    # A picture whose only subject is tiny still has one.
    order = order or [int(areas.argmax()) + 1]
    return np.asarray(labels, np.int32), order, boxes


def _owners(alpha_u8: U8, labels: NDArray[np.int32], those: list[int]) -> NDArray[np.int32]:
    """For each pixel the label of the nearest of `those` pieces: whose soft edge it is."""
    kept = np.isin(labels, those)
    away = np.where(kept, np.uint8(0), np.uint8(255))
    _, nearest = cv2.distanceTransformWithLabels(
        away, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_CCOMP
    )
    # OpenCV numbers the pieces anew: each of its numbers stands for one of ours.
    anew = np.zeros(int(nearest.max()) + 1, np.int32)
    anew[nearest[kept]] = labels[kept]
    return cast(NDArray[np.int32], anew[nearest])
