"""A picture as an array that a model takes as it is: typed, laid out and normalised.

Called by `server.codecs.encode` for tensors; what is asked for comes from
`server.options.tensor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray


class ElementType(StrEnum):
    """Of a tensor's elements; it fixes the layout too."""

    FP32 = "fp32"  # NCHW
    FP16 = "fp16"  # NCHW
    UINT8 = "uint8"  # HWC


@dataclass(frozen=True, slots=True)
class TensorWish:
    """How a picture becomes a tensor: (value / 255 - mean) / std for each of R, G, B.

    Raises:
        ValueError: mean or std make no sense; the sentence says what does.
    """

    type: ElementType = ElementType.FP32
    mean: tuple[float, ...] = ()  # three, or none: 0
    std: tuple[float, ...] = ()  # three, none of them 0, or none: 1

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and self.type is ElementType.UINT8:
                raise ValueError(
                    f"the tensor asks for a {name}, but UINT8 holds the pixels as they are: leave "
                    f"{name} out, or choose FP32 or FP16"
                )
            if len(values) not in (0, 3):
                raise ValueError(
                    f"the tensor's {name} has {len(values)} values: give three, for red, green and "
                    "blue, or none"
                )
            if not np.isfinite(values).all():
                raise ValueError(f"the tensor's {name} is {values}: give three finite numbers")
        if 0 in self.std:
            raise ValueError(f"the tensor's std is {self.std}: none of the three may be 0")


PLAIN_TENSOR = TensorWish()  # FP32 from 0 to 1


class Tensor(NamedTuple):
    """A row-major, little-endian array."""

    type: ElementType
    shape: tuple[int, ...]
    data: bytes

    @property
    def width(self) -> int:
        """Columns of the picture in it."""
        return self.shape[1] if self.type is ElementType.UINT8 else self.shape[3]

    @property
    def height(self) -> int:
        """Rows of the picture in it."""
        return self.shape[0] if self.type is ElementType.UINT8 else self.shape[2]


def make_tensor(rgb_u8: NDArray[np.uint8], wish: TensorWish) -> Tensor:
    """The picture as the wish has it: (H, W, 3) for UINT8, else (1, 3, H, W).

    FP16 is rounded from FP32; what is larger than 65504 becomes infinite, as IEEE 754 has it.

    Args:
        rgb_u8: (H, W, 3), without alpha: composite it first.
        wish: type and scaling.
    """
    if wish.type is ElementType.UINT8:
        return Tensor(wish.type, rgb_u8.shape, rgb_u8.tobytes())
    height, width = rgb_u8.shape[:2]
    element = np.dtype("<f4" if wish.type is ElementType.FP32 else "<f2")
    planes = np.empty((1, 3, height, width), element)  # NCHW, RGB, normalised
    mean, std = wish.mean or (0.0, 0.0, 0.0), wish.std or (1.0, 1.0, 1.0)
    levels = np.arange(256) / 255
    for channel, plane in enumerate(cv2.split(np.ascontiguousarray(rgb_u8))):
        # A table of 256: exact, whatever mean and std are, and each value is computed once.
        table = ((levels - mean[channel]) / std[channel]).astype(np.float32)
        with np.errstate(over="ignore"):
            planes[0, channel] = cv2.LUT(plane, table)
    return Tensor(wish.type, planes.shape, planes.tobytes())
