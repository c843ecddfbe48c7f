"""The subject over anything: nothing, a colour, a picture.

Twin of `cuda/composite.cu`. On a colour it says the same as `composite`, on nothing the same as
`cutout`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.backdrop import Backdrop
from kernels.reference.resize import resize
from kernels.reference.rounding import to_u8

Color = tuple[int, int, int, int]


def composite_over(
    foreground: NDArray[np.uint8] | NDArray[np.float64],
    alpha_u8: NDArray[np.uint8],
    color: Color,
    background: NDArray[np.float64] | None = None,
    backdrop: Backdrop | None = None,
) -> NDArray[np.uint8]:
    """The subject over what lies behind: (H, W, 3) uint8 where `color` is opaque, else (H, W, 4)
    with straight alpha, red, green and blue 0 where that alpha is 0.

    Alpha becomes a + B (1 - a), colour (a foreground + B (1 - a) behind) divided by that, with a
    the subject's alpha and B that of what is behind (Porter and Duff, SIGGRAPH 1984).

    Args:
        foreground: (H, W, 3), the subject's colours, 0..255.
        alpha_u8: (H, W).
        color: red, green, blue and alpha, 0..255 each: behind the subject, and behind `background`
            where that is translucent or does not reach.
        background: (h, w, 4), red, green, blue and straight alpha, 0..255.
        backdrop: where it lies behind the subject; see `kernels.backdrop`.
    """
    height, width = alpha_u8.shape
    behind = canvas(width, height, color, background, backdrop)
    a = alpha_u8[..., None] / 255
    total = a + behind[..., 3:] * (1 - a)
    mixed = a * foreground + behind[..., :3] * (1 - a)
    colors = to_u8(np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0))
    if color[3] == 255:
        return colors
    alpha_out = to_u8(255 * total)
    return np.dstack([colors * (alpha_out > 0), alpha_out]).astype(np.uint8)


def canvas(
    width: int,
    height: int,
    color: Color,
    background: NDArray[np.float64] | None,
    backdrop: Backdrop | None,
) -> NDArray[np.float64]:
    """What lies behind the subject, (height, width, 4): colours 0..255 times alpha, alpha 0..1.

    The background is resized with its colours multiplied by its alpha, so that what is transparent
    in it colours nothing.
    """
    under = np.array([*color[:3], 255], np.float64) * color[3] / 255
    result = np.broadcast_to(under, (height, width, 4)) / (1, 1, 1, 255)
    if background is None or backdrop is None:
        return result
    opacity = background[..., 3:] / 255
    laid = resize(
        np.dstack([background[..., :3] * opacity, opacity]), backdrop.width, backdrop.height
    )
    rows, columns = np.arange(height) - backdrop.top, np.arange(width) - backdrop.left
    if backdrop.repeat:
        rows, columns = rows % backdrop.height, columns % backdrop.width
    y = np.nonzero((rows >= 0) & (rows < backdrop.height))[0]
    x = np.nonzero((columns >= 0) & (columns < backdrop.width))[0]
    reached = np.ix_(y, x)
    over = laid[np.ix_(rows[y], columns[x])]
    result[reached] = over + result[reached] * (1 - over[..., 3:])
    return result
