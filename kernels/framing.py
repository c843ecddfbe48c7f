"""Which part of the source a result shows, and at which size: the one place that knows.

Called by `server.looks`, which has `kernels.cpu.crop` cut the pixels. All in exact fractions,
rounded half up, so that equal wishes give equal frames on every machine:

1. Around the subject's box lie the margins; per cent are of the box's own side, in whole pixels.
   With a `scale` each side of the box is divided by it instead; to `keep_size` the box gets the
   source's size instead.
2. The side that is too short for the aspect grows. The aspect is the canvas', where both its sides
   are given; else the one asked for; else 1 for a circle; else as it falls out.
3. `position` says which share of what was added in 2, or in place of margins, lies left of (above)
   it. Asked to be `flush`, a subject that the source's edge cuts off stands at the result's edge
   there, without a margin: cut off in the middle of the result it would float. One that is cut off
   on two opposite sides fills the result from one to the other; the aspect then cuts its other
   sides, as far from the subject's middle as may be.
4. The result has the frame's own size in pixels of the source, or the canvas'; a canvas' side that
   was not given follows from the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, NamedTuple

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom just past the last


class Length(NamedTuple):
    """A length along one side: pixels of the source, or per cent of the subject's side."""

    value: float
    unit: Literal["px", "percent"]


NO_MARGIN = Length(0, "px")


@dataclass(frozen=True, slots=True)
class Crop:
    """How a result is cut to the subject. Without any of these: tight around it.

    Raises:
        ValueError: two of them contradict each other.
    """

    margin_top: Length = NO_MARGIN
    margin_right: Length = NO_MARGIN
    margin_bottom: Length = NO_MARGIN
    margin_left: Length = NO_MARGIN
    aspect: float | None = None  # width divided by height, above 0
    canvas_width: int = 0  # px of the result; 0: as it falls out
    canvas_height: int = 0
    scale: float | None = None  # share of the canvas that the subject's longer side takes, 0..1
    position: tuple[float, float] = (0.5, 0.5)  # 0 left, top; 1 right, bottom
    circle: bool = False
    keep_size: bool = False  # the source's size; the subject's own scale
    flush: bool = False

    def __post_init__(self) -> None:
        if self.canvas_width and self.canvas_height and self.aspect is not None:
            raise ValueError(
                f"the crop asks for an aspect of {self.aspect:g} and for a canvas of "
                f"{self.canvas_width}x{self.canvas_height}: leave out the aspect, or one side of "
                "the canvas"
            )
        margins = (self.margin_top, self.margin_right, self.margin_bottom, self.margin_left)
        others = (self.aspect, self.scale, self.canvas_width, self.canvas_height)
        if self.keep_size and (any(margin.value for margin in margins) or any(others)):
            raise ValueError(
                "the crop is to keep the source's size, but has margins, an aspect, a canvas or a "
                "scale as well: leave those out, or keep_size"
            )
        if self.scale is not None and any(margin.value for margin in margins):
            raise ValueError(
                f"the crop asks for a scale of {self.scale:g} and for margins, but either decides "
                "how large the subject is: leave out one of them"
            )


class Frame(NamedTuple):
    """A rectangle of the source, in its pixels, shown as `columns` x `rows` pixels.

    The rectangle may reach beyond the source. Both sides are scaled alike but for the rounding of
    the rectangle to whole pixels.
    """

    left: int
    top: int
    width: int
    height: int
    columns: int
    rows: int

    @property
    def scale(self) -> float:
        """Pixels of the result for each pixel of the source."""
        return max(self.columns / self.width, self.rows / self.height)

    @property
    def is_resized(self) -> bool:
        """True when the result has not the source's own pixels."""
        return (self.columns, self.rows) != (self.width, self.height)


def frame(
    crop: Crop,
    box: Box,
    source_wh: tuple[int, int],
    middle: tuple[float, float] | None = None,
) -> Frame:
    """The part of the source that `crop` shows of a subject in `box`, and the result's size.

    Args:
        crop: what is asked for.
        box: around the subject, in pixels of the source; without a subject the whole source.
        source_wh: columns and rows of the source, by which `flush` knows where the subject is cut
            off.
        middle: where most of the subject is, in pixels of the source, for `flush`; None: the box's
            middle.

    Raises:
        ValueError: the box is empty.
    """
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        raise ValueError(f"the subject's box is {box}: it must have at least one pixel")
    fills_width = fills_height = False
    if crop.flush:
        crop = _flush(crop, box, source_wh)
        fills_width = left <= 0 and right >= source_wh[0] and crop.scale is None
        fills_height = top <= 0 and bottom >= source_wh[1] and crop.scale is None
    if crop.keep_size:
        width, height = source_wh
    elif crop.scale is None:
        wide, high = right - left, bottom - top
        left -= _pixels(crop.margin_left, wide)
        top -= _pixels(crop.margin_top, high)
        right += _pixels(crop.margin_right, wide)
        bottom += _pixels(crop.margin_bottom, high)
        width, height = right - left, bottom - top
    else:
        width = max(right - left, _half_up(Fraction(right - left) / Fraction(crop.scale)))
        height = max(bottom - top, _half_up(Fraction(bottom - top) / Fraction(crop.scale)))
    aspect = _aspect(crop)
    if aspect is not None:
        wide, high = max(1, _half_up(height * aspect)), max(1, _half_up(width / aspect))
        x, y = middle or ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        if fills_height and wide < width:
            left, right = _around(x, wide, left, right)
            width = wide
        elif fills_width and high < height:
            top, bottom = _around(y, high, top, bottom)
            height = high
        else:
            width, height = max(width, wide), max(height, high)
    left -= _half_up((width - (right - left)) * Fraction(crop.position[0]))
    top -= _half_up((height - (bottom - top)) * Fraction(crop.position[1]))
    shape = Fraction(width, height) if aspect is None else aspect
    columns, rows = crop.canvas_width, crop.canvas_height
    if not columns and not rows:
        columns, rows = width, height
    columns = columns or max(1, _half_up(rows * shape))
    rows = rows or max(1, _half_up(columns / shape))
    return Frame(left, top, width, height, columns, rows)


def _flush(crop: Crop, box: Box, source_wh: tuple[int, int]) -> Crop:
    """The crop without margins where the source's edge cuts the subject off, and with the subject
    at that side; cut off on both, it stands between them as before.
    """
    at_left, at_top = box[0] <= 0, box[1] <= 0
    at_right, at_bottom = box[2] >= source_wh[0], box[3] >= source_wh[1]
    return replace(
        crop,
        margin_left=NO_MARGIN if at_left else crop.margin_left,
        margin_top=NO_MARGIN if at_top else crop.margin_top,
        margin_right=NO_MARGIN if at_right else crop.margin_right,
        margin_bottom=NO_MARGIN if at_bottom else crop.margin_bottom,
        position=(
            float(at_right) if at_left != at_right else crop.position[0],
            float(at_bottom) if at_top != at_bottom else crop.position[1],
        ),
    )


def _around(middle: float, length: int, low: int, high: int) -> tuple[int, int]:
    """The stretch of that length around the middle, moved to lie within the two ends."""
    start = _half_up(Fraction(middle) - Fraction(length, 2))
    start = min(max(start, low), high - length)
    return start, start + length


def _aspect(crop: Crop) -> Fraction | None:
    if crop.canvas_width and crop.canvas_height:
        return Fraction(crop.canvas_width, crop.canvas_height)
    if crop.aspect is not None:
        # A 32-bit float's 1.7777777 is meant as 16 / 9.
        return Fraction(crop.aspect).limit_denominator(1000)
    return Fraction(1) if crop.circle else None


def _pixels(length: Length, side: int) -> int:
    share = Fraction(side, 100) if length.unit == "percent" else Fraction(1)
    return _half_up(Fraction(length.value) * share)


def _half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
