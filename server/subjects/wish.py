"""What a caller wants of the subjects of a picture.

Made by `server.options.subject`; bound to a prompter by `server.remover` and by the command line's
local mode, and applied by `server.finishing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.prompts import BoxPrompt, Click, Prompts
from server.option_rules import InvalidOption
from server.subjects.mask import Mask
from server.subjects.pieces import largest

U8 = NDArray[np.uint8]


class Place(NamedTuple):
    """A point in pixels of the picture; `exclude`: on what is not wanted."""

    x: float
    y: float
    exclude: bool = False


class Frame(NamedTuple):
    """A rectangle in pixels of the picture: left < right, top < bottom."""

    left: float
    top: float
    right: float
    bottom: float


# The subject's alpha of colours (H, W, 3), the matte (H, W) and its `cell_px`, by prompts.
Ask = Callable[[U8, U8, float | None, Prompts], U8]


@dataclass(frozen=True, slots=True)
class Wish:
    """Everything is taken together: what the prompts mean, within the region, its largest piece."""

    points: tuple[Place, ...] = ()
    box: Frame | None = None
    mask: Mask | None = None
    region: Frame | None = None
    is_largest: bool = False
    ask: Ask | None = field(default=None, compare=False)  # set before it is applied

    @property
    def has_prompts(self) -> bool:
        """True when a promptable model is needed."""
        return bool(self.points) or self.box is not None or self.mask is not None

    def bound_to(self, ask: Ask) -> Wish:
        """The same wish, with somebody to ask."""
        return replace(self, ask=ask)

    def check(self, width: int, height: int) -> None:
        """Nothing when all of it lies in a picture of that size.

        Raises:
            InvalidOption: something does not, or a mask is no picture.
        """
        for place in self.points:
            if not (0 <= place.x < width and 0 <= place.y < height):
                raise InvalidOption(
                    f"option subject.points has ({place.x:g}, {place.y:g}), the image is {width}x"
                    f"{height} pixels: a point must lie in it"
                )
        for name, frame in (("box", self.box), ("region", self.region)):
            if frame is None:
                continue
            if not (frame.left >= 0 and frame.right <= width) or not (
                frame.top >= 0 and frame.bottom <= height
            ):
                raise InvalidOption(
                    f"option subject.{name} is ({frame.left:g}, {frame.top:g}) to "
                    f"({frame.right:g}, {frame.bottom:g}), the image is {width}x{height} pixels: "
                    "it must lie in it"
                )
        if self.mask is not None:
            self.mask.place_and_box(width, height)

    def choose(self, rgb_u8: U8, alpha_u8: U8, cell_px: float | None = None) -> U8:
        """The alpha of what is wanted, (H, W).

        Args:
            rgb_u8: (H, W, 3), the picture.
            alpha_u8: (H, W), of all that the model took for a subject.
            cell_px: as in `server.finishing.finish`.

        Raises:
            EngineFailed: the promptable model could not run.
        """
        height, width = alpha_u8.shape
        alpha = alpha_u8
        if self.has_prompts:
            if self.ask is None:
                raise ValueError("the wish has prompts and nobody to ask")
            alpha = self.ask(rgb_u8, alpha_u8, cell_px, self.prompts(width, height))
        if self.region is not None:
            alpha = _within(alpha, self.region)
        return largest(alpha) if self.is_largest else alpha

    def prompts(self, width: int, height: int) -> Prompts:
        """As the model takes them, in shares of a picture of that size."""
        clicks = tuple(
            # Into the pixel's middle: 0 is the left edge of the first one.
            Click(min(1.0, (p.x + 0.5) / width), min(1.0, (p.y + 0.5) / height), not p.exclude)
            for p in self.points
        )
        box = self.box
        asked = (
            None
            if box is None
            else BoxPrompt(
                box.left / width, box.top / height, box.right / width, box.bottom / height
            )
        )
        if self.mask is not None:
            place, around = self.mask.place_and_box(width, height)
            asked = asked or around
            if not any(click.wanted for click in clicks):
                clicks = (place, *clicks)
        return Prompts(clicks, asked)


def _within(alpha_u8: U8, region: Frame) -> U8:
    """The alpha in the region, nothing outside; a pixel belongs to it by its middle."""
    left, top, right, bottom = (round(side) for side in region)
    inside = np.zeros_like(alpha_u8)
    cv2.rectangle(inside, (left, top), (right - 1, bottom - 1), 255, cv2.FILLED)
    return np.asarray(cv2.bitwise_and(alpha_u8, inside), np.uint8)
