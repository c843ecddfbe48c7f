"""One picture with its truth, as it goes through a pipeline and is judged afterwards.

Made by `server.evaluation.dataset` and `server.evaluation.composites`, read by `runs` and `panels`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from server.job import PixelFormat, RawSource, Source

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


class BadTruth(Exception):
    """A truth that cannot be compared with; the sentence says what was seen and what is allowed."""


@dataclass(frozen=True, slots=True)
class Case:
    """A picture and what is true of it.

    Attributes:
        name: what to call it in tables: "images/dog.jpg".
        group: the row of the table that it belongs to.
        source: as a caller would send it.
        alpha: (H, W) float32 in [0, 1], the truth at the picture's upright size.
        cutout: (H, W, 4) float32, true colours 0..255 with straight alpha in [0, 1]; None where
            nobody knows the subject's own colours.
    """

    name: str
    group: str
    source: Source
    alpha: F32
    cutout: F32 | None = None

    @property
    def is_empty(self) -> bool:
        """True for a picture without a subject."""
        return not bool((self.alpha >= 0.5).any())


@dataclass(frozen=True, slots=True)
class Lead:
    """A case that is not loaded yet, so that a thousand pictures need the memory of one.

    `load` raises `BadTruth`, `OSError`, or what decoding raises, when the picture is at fault.
    """

    name: str
    group: str
    load: Callable[[], Case]


def raw_source(rgb_u8: U8, alpha_u8: U8 | None = None) -> RawSource:
    """Pixels as a caller would send them raw: (H, W, 3), with (H, W) of their own alpha or none."""
    height, width = rgb_u8.shape[:2]
    pixels = rgb_u8 if alpha_u8 is None else np.dstack([rgb_u8, alpha_u8])
    kind = PixelFormat.RGB8 if alpha_u8 is None else PixelFormat.RGBA8
    return RawSource(np.ascontiguousarray(pixels).tobytes(), kind, width, height)


def alpha_of(alpha_u8: U8) -> F32:
    """The same alpha as float32 in [0, 1]."""
    return np.multiply(alpha_u8, np.float32(1 / 255), dtype=np.float32)


def scaled(pixels: U8, side_px: int) -> U8:
    """The picture with its longer side at `side_px`: averaged when shrinking, else cubic."""
    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def read_truth(path: Path) -> U8:
    """The alpha in a file, (H, W) uint8: its alpha channel where it has one, else its grey.

    Masks of 0 and 1 count as 0 and 255; of 16 bits the upper 8 are kept.

    Raises:
        BadTruth: it is no picture, or one in colours.
    """
    try:
        with Image.open(path) as image:
            image.load()
            picture: Image.Image = image
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise BadTruth(
            f"the truth {path} cannot be read ({error}): save it as an 8-bit PNG, 0 background to "
            "255 subject"
        ) from error
    if picture.mode.startswith("I") or picture.mode == "F":
        deep = np.asarray(picture, np.float64)
        return _spread(np.clip(deep / 256 if deep.max(initial=0) > 255 else deep, 0, 255))
    if picture.mode in ("P", "PA") and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if picture.mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        alpha = np.asarray(picture.convert("RGBA"), np.uint8)[..., 3]
        if int(alpha.min(initial=255)) < 255:
            return alpha
    grey = np.asarray(picture.convert("RGB"), np.uint8)
    if int(np.ptp(grey, axis=2).max(initial=0)) > 8:  # JPEG's own noise passes
        raise BadTruth(
            f"the truth {path} is a picture in colours without transparency: give a grey one, 0 "
            "background to 255 subject, or a cut-out with alpha"
        )
    return _spread(grey[..., 0])


def check_size(name: str, alpha_u8: U8, width: int, height: int) -> None:
    """Nothing when the truth has the picture's size.

    Raises:
        BadTruth: it has not.
    """
    seen = (alpha_u8.shape[1], alpha_u8.shape[0])
    if seen != (width, height):
        turned = " (the picture is turned upright by its EXIF orientation)"
        raise BadTruth(
            f"{name} is {width}x{height}, its truth {seen[0]}x{seen[1]}: both must be the same"
            + (turned if seen == (height, width) else "")
        )


def _spread(grey: NDArray[np.generic]) -> U8:
    values = np.asarray(grey, np.uint8)
    return values * np.uint8(255) if int(values.max(initial=0)) == 1 else values
