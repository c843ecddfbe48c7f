"""The shadow that a subject throws: where it touches the ground, or of its whole outline.

Called by `server.looks`. There is no light and no ground in an alpha: both kinds are drawn from the
outline alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.composite_over import join
from kernels.reference import SUBJECT_LEVEL

U8 = NDArray[np.uint8]

DEFAULT_BLUR = 0.02  # of the subject's height
DEFAULT_DROP_OFFSET = 0.01
TOUCHES_WITHIN = 0.12  # of the subject's height: what is lifted higher throws no contact shadow
STRIP = 0.75  # half the height of the contact's strip, in standard deviations of the blur
FLAT = 0.5  # a contact shadow lies on the ground: seen from the front it is this high to its width
REACH = 3.5  # standard deviations, beyond which 0.05 % of a Gaussian are left
MOST_BLUR = 0.25  # of the plane's longer side: beyond, nothing is left of the outline
REDUCE_BY = 3.0  # samples of sigma that are kept when a blur is done at a reduced size


@dataclass(frozen=True, slots=True)
class Shadow:
    """What is laid under the subject; lengths in pixels of the source.

    None stands for the default: 2 % of the subject's height for the blur, 1 % for the offsets of a
    drop shadow and 0 for those of a contact shadow.
    """

    kind: Literal["contact", "drop"]
    opacity: float = 0.5  # 0..1
    blur_px: float | None = None  # standard deviation, 0..200
    offset_x_px: float | None = None  # to the right
    offset_y_px: float | None = None  # down


def shadow(alpha_u8: U8, what: Shadow, scale: float = 1.0) -> U8:
    """The alpha of the shadow, (H, W) uint8; what would fall outside is cut.

    A drop shadow is the whole alpha, moved and blurred. A contact shadow is a strip along the
    lowest subject pixel of each column, fading to nothing where the column ends 12 % of the
    subject's height above the lowest of all, blurred half as far down as across.

    Args:
        alpha_u8: (H, W), the subject's.
        what: kind and measures.
        scale: pixels of `alpha_u8` for each pixel of the source.
    """
    _, seen = cv2.threshold(alpha_u8, SUBJECT_LEVEL - 1, 255, cv2.THRESH_BINARY)
    left, top, width, height = cv2.boundingRect(seen)
    if not width or what.opacity == 0:
        return np.zeros_like(alpha_u8)
    is_drop = what.kind == "drop"
    longer = max(alpha_u8.shape)
    sigma = DEFAULT_BLUR * height if what.blur_px is None else what.blur_px * scale
    sigma = min(sigma, MOST_BLUR * longer)
    offset = DEFAULT_DROP_OFFSET * height if is_drop else 0.0
    x, y = (
        round(min(max(offset if wish is None else wish * scale, -2 * longer), 2 * longer))
        for wish in (what.offset_x_px, what.offset_y_px)
    )
    sigma_y = sigma if is_drop else FLAT * sigma
    if is_drop:
        shape = alpha_u8[top : top + height, left : left + width]
    else:
        half = max(1, round(STRIP * sigma))
        shape, above = _contact(cast(U8, seen[top : top + height, left : left + width]), half)
        top += above
    blurred = _blurred_onto(alpha_u8.shape, shape, (left + x, top + y), (sigma, sigma_y))
    return cast(U8, cv2.convertScaleAbs(blurred, alpha=what.opacity))


def lay_shadow(rgb_u8: U8, alpha_u8: U8, shadow_u8: U8) -> tuple[U8, U8]:
    """The subject with a black shadow under it: colours (H, W, 3) and alpha (H, W), both uint8.

    Args:
        rgb_u8: (H, W, 3), the subject's colours.
        alpha_u8: (H, W).
        shadow_u8: (H, W), the shadow's alpha.
    """
    total = join(alpha_u8, shadow_u8)
    share = cast(U8, cv2.divide(alpha_u8, total, scale=255))
    # Where neither is, the colours stay: who zeroes them or not decides later.
    share[total == 0] = 255
    weight = cv2.cvtColor(share, cv2.COLOR_GRAY2RGB)
    return cast(U8, cv2.multiply(rgb_u8, weight, scale=1 / 255)), total


def _contact(seen_u8: U8, half: int) -> tuple[U8, int]:
    """The strip where the subject touches the ground, (h, w), and its first row below the box' top.

    Args:
        seen_u8: (height, width) of the subject's box, 0 or 255.
        half: rows of the strip above and below the contact.
    """
    height = seen_u8.shape[0]
    reach = max(1, math.ceil(TOUCHES_WITHIN * height))
    # From below: the number of rows under the column's lowest subject pixel.
    ground = np.ascontiguousarray(seen_u8[-reach:][::-1].T) > 0
    lifted = np.where(ground.any(axis=1), ground.argmax(axis=1), reach)
    strength = (1 - lifted / reach) ** 2
    rows = np.arange(reach + 2 * half)[:, None]  # row 0 lies reach + half rows above the ground
    lowest = reach + half - lifted
    inside = (rows >= lowest - half) & (rows < lowest + half)
    strip = np.where(inside, np.rint(255 * strength), 0).astype(np.uint8)
    return strip, height - reach - half


def _blurred_onto(
    size_hw: tuple[int, ...], shape_u8: U8, corner: tuple[int, int], sigma: tuple[float, float]
) -> U8:
    """An empty plane of `size_hw` with the shape at `corner` (x, y), blurred over its sides."""
    plane = np.zeros(size_hw, np.uint8)
    pad_x, pad_y = (math.ceil(REACH * s) for s in sigma)
    part = cv2.copyMakeBorder(shape_u8, pad_y, pad_y, pad_x, pad_x, cv2.BORDER_CONSTANT)
    rows, columns = part.shape
    # A wide blur keeps nothing fine, so it is done at a reduced size, whole samples to each.
    factors = [max(1, int(s / REDUCE_BY)) for s in sigma]
    small = (-(-columns // factors[0]), -(-rows // factors[1]))
    part = cv2.copyMakeBorder(
        part,
        0,
        small[1] * factors[1] - rows,
        0,
        small[0] * factors[0] - columns,
        cv2.BORDER_CONSTANT,
    )
    reduced = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    # Averaging over f samples and growing linearly blur too: variances (f^2 - 1) / 12 and / 6.
    left_over = [
        math.sqrt(max(0.0, s * s - (f * f - 1) / 4)) / f
        for s, f in zip(sigma, factors, strict=True)
    ]
    if max(left_over) > 0:
        kernels = [2 * math.ceil(REACH * s) + 1 for s in left_over]
        reduced = cv2.GaussianBlur(
            reduced,
            (kernels[0], kernels[1]),
            sigmaX=max(left_over[0], 1e-3),
            sigmaY=max(left_over[1], 1e-3),
            borderType=cv2.BORDER_CONSTANT,
        )
    grown = cv2.resize(reduced, part.shape[::-1], interpolation=cv2.INTER_LINEAR)
    x, y = corner[0] - pad_x, corner[1] - pad_y
    top, bottom = max(0, y), min(size_hw[0], y + rows)
    left, right = max(0, x), min(size_hw[1], x + columns)
    if top < bottom and left < right:
        plane[top:bottom, left:right] = grown[top - y : bottom - y, left - x : right - x]
    return plane
