"""Where a background picture lies behind the canvas: the one place that knows.

Called by `kernels.cuda.composite` and its twin `kernels.reference.composite_over`; the CPU path
will ask it too. `kernels.letterbox` does the same for the image inside a network's plane.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

BackgroundFit = Literal["cover", "contain", "tile", "stretch"]


class Backdrop(NamedTuple):
    """The background, resized to `width` x `height`, laid with its corner at (`left`, `top`).

    All in pixels of the canvas; the corner may lie outside. Canvas pixels that it does not reach
    show the colour behind it, or its repetition.
    """

    left: int
    top: int
    width: int
    height: int
    repeat: bool


def lay(
    background_wh: tuple[int, int],
    canvas_wh: tuple[int, int],
    fit: BackgroundFit,
    position: tuple[float, float] = (0.5, 0.5),
) -> Backdrop:
    """Where a background of `background_wh` pixels lies behind a canvas of `canvas_wh` pixels.

    Args:
        background_wh: columns and rows of the background.
        canvas_wh: columns and rows of the canvas.
        fit: "cover" fills the canvas and is cut where it is too long; "contain" fits inside it;
            both keep the aspect ratio as nearly as whole pixels allow. "tile" keeps its own size
            and repeats. "stretch" covers the canvas exactly: a smaller copy of the canvas itself.
        position: along x and y, 0..1: that share of what is too long, or left over, lies to the
            left of (above) the canvas' own corner, or of the background's.

    Raises:
        ValueError: a size is below 1, a position outside 0..1, or `fit` is none of the four.
    """
    for size in (*background_wh, *canvas_wh):
        if size < 1:
            raise ValueError(f"a side of a background or canvas is {size}; it must be at least 1")
    for share in position:
        if not 0 <= share <= 1:
            raise ValueError(f"background position is {share}; allowed is 0 to 1")
    width, height = _size(background_wh, canvas_wh, fit)
    # Half up: a tie must not depend on which of two neighbours is even.
    left = math.floor((canvas_wh[0] - width) * position[0] + 0.5)
    top = math.floor((canvas_wh[1] - height) * position[1] + 0.5)
    return Backdrop(left, top, width, height, fit == "tile")


def _size(
    background_wh: tuple[int, int], canvas_wh: tuple[int, int], fit: BackgroundFit
) -> tuple[int, int]:
    if fit == "stretch":
        return canvas_wh
    if fit == "tile":
        return background_wh
    if fit not in ("cover", "contain"):
        raise ValueError(
            f"background fit is {fit!r}; allowed are 'cover', 'contain', 'tile' and 'stretch'"
        )
    (columns, rows), (width, height) = background_wh, canvas_wh
    # The canvas is wider than the background: to cover it, the widths must meet. Whole numbers, so
    # that equal shapes are seen as equal.
    wider = width * rows >= columns * height
    if wider == (fit == "cover"):
        return width, max(1, _rounded(rows * width, columns))
    return max(1, _rounded(columns * height, rows)), height


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
