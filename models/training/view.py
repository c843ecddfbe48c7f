"""One picture as the network may meet it: cropped, turned, mirrored and stretched to the square.

`composite.py` draws views of photos and grounds; `evaluate.py` draws its grounds the same way.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.data import U8, Picture, extent

F32 = NDArray[np.float32]
Rng = np.random.Generator

TURNED = 0.2  # share of views that are rotated
CROPPED = 0.75
TIGHT = 0.15  # share of views that are cut close around the subject, as product photos are
MARGIN = (0.02, 0.35)  # of the subject's box, left around it by a tight crop
OUTSIDE_PX = 96  # narrower strips beside a subject are too coarse to stand for a picture
TALL = 1.5  # height of a subject's box over its width: somebody who stands, as a rule
CLOSE_PX = 80  # lower close-ups are too coarse to stand for a photo
CLOSE = (0.2, 0.75)  # of a standing subject's height, kept from above: a head, down to the hips


def random_view(rng: Rng, picture: Picture, side: int) -> tuple[F32, F32]:
    """A crop that keeps at least 60 % of the subject, perhaps flipped and rotated, stretched.

    RGB float32 (S, S, 3) in [0, 255] and alpha float32 (S, S) in [0, 1] (zeros without a mask).
    """
    rgb, mask = picture.rgb, picture.alpha
    if mask is None:
        mask = np.zeros(rgb.shape[:2], np.uint8)
    if rng.random() < TURNED:
        rgb, mask = turned(rgb, mask, rng.uniform(-22, 22))
    pick = rng.random()
    if pick < TIGHT:
        rgb, mask = tight_crop(rng, rgb, mask)
    elif pick < TIGHT + CROPPED:
        rgb, mask = loose_crop(rng, rgb, mask)
    if rng.random() < 0.5:
        rgb, mask = rgb[:, ::-1], mask[:, ::-1]
    view = stretch(np.ascontiguousarray(rgb), side).astype(np.float32)
    alpha = stretch(np.ascontiguousarray(mask), side).astype(np.float32) / 255.0
    return view, alpha


def turned(rgb: U8, mask: U8, degrees: float) -> tuple[U8, U8]:
    """Both rotated about the middle, the corners filled by the mirrored picture."""
    h, w = mask.shape
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), degrees, 1.0)
    spun = (
        np.asarray(cv2.warpAffine(x, turn, (w, h), borderMode=cv2.BORDER_REFLECT_101), np.uint8)
        for x in (rgb, mask)
    )
    return next(spun), next(spun)


def loose_crop(rng: Rng, rgb: U8, mask: U8) -> tuple[U8, U8]:
    """A crop of half to all of each side; the whole picture where four tries lose the subject."""
    h, w = mask.shape
    subject = float(mask.sum(dtype=np.int64))
    for _ in range(4):
        ch, cw = (max(16, int(n * rng.uniform(0.5, 1.0))) for n in (h, w))
        y, x = int(rng.integers(0, max(1, h - ch))), int(rng.integers(0, max(1, w - cw)))
        kept = float(mask[y : y + ch, x : x + cw].sum(dtype=np.int64))
        if kept >= 0.6 * subject:
            return rgb[y : y + ch, x : x + cw], mask[y : y + ch, x : x + cw]
    return rgb, mask


def tight_crop(rng: Rng, rgb: U8, mask: U8) -> tuple[U8, U8]:
    """The subject's box with a random margin on each side; the whole picture without a subject."""
    h, w = mask.shape
    columns, rows = np.nonzero(mask.max(axis=0) > 127)[0], np.nonzero(mask.max(axis=1) > 127)[0]
    if len(columns) < 16 or len(rows) < 16:
        return rgb, mask
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    room = rng.uniform(*MARGIN, 4) * np.array([right - left, right - left, *[bottom - top] * 2])
    x0, x1 = max(0, int(left - room[0])), min(w, int(right + room[1]))
    y0, y1 = max(0, int(top - room[2])), min(h, int(bottom + room[3]))
    return rgb[y0:y1, x0:x1], mask[y0:y1, x0:x1]


def close_up(rng: Rng, photo: Picture) -> Picture | None:
    """The upper part of a photo's tall subject, cut by the frame as a portrait cuts one.

    None where the subject is not tall, has no room, or is too small to be looked at so closely.
    Other views keep most of a subject, and people who were photographed standing in streets are
    then all that a network learns of people.
    """
    if photo.alpha is None:
        return None
    inside = photo.alpha > 127
    found = extent(inside)
    if found is None:
        return None
    left, top, right, bottom = found
    tall, wide = bottom - top, right - left
    if tall < TALL * wide or tall * CLOSE[1] < CLOSE_PX:
        return None
    least = max(CLOSE[0], CLOSE_PX / tall)
    kept = tall * float(np.exp(rng.uniform(np.log(least), np.log(CLOSE[1]))))
    above, aspect = rng.uniform(0.02, 0.3), rng.uniform(0.6, 1.6)
    y0, y1 = max(0, int(top - above * kept)), int(top + kept)
    width = aspect * (y1 - y0)
    middle = float(np.nonzero(inside[top:y1])[1].mean()) + rng.uniform(-0.2, 0.2) * width
    x0, x1 = max(0, int(middle - width / 2)), min(photo.alpha.shape[1], int(middle + width / 2))
    return replace(photo, rgb=photo.rgb[y0:y1, x0:x1], alpha=photo.alpha[y0:y1, x0:x1])


def beside(rng: Rng, photo: Picture) -> Picture | None:
    """A strip of a masked photo beside its subject, without it; None where none is wide enough.

    Real photos have far more kinds of ground than there are pictures of grounds alone.
    """
    if photo.alpha is None:
        return None
    seen = photo.alpha > 8
    found = extent(seen)
    if found is None:
        return None
    h, w = seen.shape
    left, top, right, bottom = found
    strips = [(0, h, 0, left), (0, h, right, w), (0, top, 0, w), (bottom, h, 0, w)]
    wide = [s for s in strips if min(s[1] - s[0], s[3] - s[2]) >= OUTSIDE_PX]
    if not wide:
        return None
    y0, y1, x0, x1 = wide[rng.integers(len(wide))]
    return replace(photo, rgb=photo.rgb[y0:y1, x0:x1], alpha=None)


def stretch(image: U8, side: int) -> U8:
    """The picture as a square, its aspect given up; averaged where it shrinks."""
    shrinks = min(image.shape[:2]) > side
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)
