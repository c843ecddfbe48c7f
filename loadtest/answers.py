"""Is an answer a cut-out? So that no error page and no empty picture is ever counted as speed.

`is_whole_png` is cheap and runs on every answer under load (`loadtest.callers`); `open_cutout`
looks at the pixels and runs on the warm-up's answers (`loadtest.compare_rembg`, `loadtest.stages`).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = (
    struct.pack(">I", 0) + b"IEND\xae\x42\x60\x82"
)  # the last chunk of every PNG, with its checksum


class WrongAnswer(Exception):
    """A server's answer is no cut-out of the photo that was sent."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two alphas of one photo lie apart."""

    mean_abs: float  # of 255
    share_over_16: float  # share of pixels more than 16 of 255 apart, 0..1
    iou: float  # of alpha >= 128, 0..1


def is_whole_png(data: bytes, width: int, height: int) -> bool:
    """True when `data` begins as a PNG of this size in pixels and ends as one."""
    return (
        data[:8] == _SIGNATURE
        and data[12:24] == b"IHDR" + struct.pack(">II", width, height)
        and data.endswith(_END)
    )


def open_cutout(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """The alpha, (H, W) uint8, of a PNG that is a plausible cut-out of a photo of this size.

    Raises:
        WrongAnswer: not a PNG, another size, no alpha, colour left where alpha is 0, or an alpha
            that keeps everything or nothing.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            kind, mode = picture.format, picture.mode
            pixels = np.asarray(picture)
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise WrongAnswer(f"{len(data)} bytes that are no picture ({error})") from error
    if kind != "PNG" or mode != "RGBA":
        raise WrongAnswer(f"a {kind} in mode {mode}, an RGBA PNG was asked for")
    if pixels.shape[:2] != (height, width):
        raise WrongAnswer(
            f"{pixels.shape[1]}x{pixels.shape[0]} pixels, the photo has {width}x{height}"
        )
    alpha = pixels[:, :, 3]
    if np.any(pixels[alpha == 0][:, :3]):
        raise WrongAnswer("colour is left where alpha is 0")
    subject = float(np.mean(alpha >= 128))
    if not 0.005 <= subject <= 0.995:
        raise WrongAnswer(f"{subject:.1%} of the photo is subject: nothing was cut out")
    return alpha


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Difference:
    """How far two alphas of the same shape, (H, W) uint8, lie apart."""
    apart = np.abs(one.astype(np.int16) - other.astype(np.int16))
    solid_one, solid_other = one >= 128, other >= 128
    union = int(np.count_nonzero(solid_one | solid_other))
    both = int(np.count_nonzero(solid_one & solid_other))
    return Difference(
        mean_abs=float(apart.mean()),
        share_over_16=float(np.mean(apart > 16)),
        iou=both / union if union else 1.0,
    )
