"""A picture in device memory, as the kernels see it: the host's side of `cuda/prelude.cuh`.

Made by `server.device_slots` for what was decoded, passed to kernels by value or in the batch's job
table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from kernels.letterbox import Placement


class PixelFormat(IntEnum):
    """Layout of the samples, all unsigned 8-bit; the numbers are those of the prelude."""

    RGB8 = 0
    BGR8 = 1
    RGBA8 = 2
    NV12 = 3
    I420 = 4
    GRAY8 = 5


@dataclass(frozen=True, slots=True)
class YCbCr:
    """How luma and chroma become red, green and blue.

    Attributes:
        luma_scale, luma_offset: Y' = (Y - luma_offset) * luma_scale.
        cr_to_r, cb_to_g, cr_to_g, cb_to_b: shares of (Cr - 128) and (Cb - 128).
    """

    luma_scale: float
    luma_offset: float
    cr_to_r: float
    cb_to_g: float
    cr_to_g: float
    cb_to_b: float

    @classmethod
    def of(cls, red_weight: float, blue_weight: float, *, full_range: bool) -> YCbCr:
        """The matrix of a standard.

        Args:
            red_weight: of red in luma: 0.299 (BT.601), 0.2126 (BT.709).
            blue_weight: of blue in luma: 0.114, 0.0722.
            full_range: samples use 0..255; else luma 16..235 and chroma 16..240.
        """
        green_weight = 1 - red_weight - blue_weight
        chroma = 1.0 if full_range else 255 / 224
        return cls(
            luma_scale=1.0 if full_range else 255 / 219,
            luma_offset=0.0 if full_range else 16.0,
            cr_to_r=2 * (1 - red_weight) * chroma,
            cb_to_g=-2 * (1 - blue_weight) * blue_weight / green_weight * chroma,
            cr_to_g=-2 * (1 - red_weight) * red_weight / green_weight * chroma,
            cb_to_b=2 * (1 - blue_weight) * chroma,
        )


IMAGE = np.dtype(
    [
        ("plane", np.uint64, 3),
        ("alpha", np.uint64),
        ("stride", np.int32, 3),
        ("alpha_stride", np.int32),
        ("width", np.int32),
        ("height", np.int32),
        ("format", np.int32),
        ("luma_scale", np.float32),
        ("luma_offset", np.float32),
        ("cr_to_r", np.float32),
        ("cb_to_g", np.float32),
        ("cr_to_g", np.float32),
        ("cb_to_b", np.float32),
        ("unused", np.int32),
    ]
)
JOB = np.dtype(
    [
        ("image", IMAGE),
        ("left", np.int32),
        ("top", np.int32),
        ("width", np.int32),
        ("height", np.int32),
    ]
)


def image_struct(
    planes: tuple[tuple[int, int], ...],
    width: int,
    height: int,
    pixel_format: PixelFormat,
    *,
    alpha: tuple[int, int] = (0, 0),
    ycbcr: YCbCr | None = None,
) -> NDArray[np.void]:
    """A picture as a kernel's argument: shape (1,), dtype `IMAGE`.

    Args:
        planes: device address and bytes per row of each plane.
        width: columns in pixels.
        height: rows in pixels.
        pixel_format: layout of the samples.
        alpha: the same of the source's own (height, width) alpha; address 0: it is opaque.
        ycbcr: for NV12 and I420.
    """
    image = np.zeros(1, IMAGE)
    for index, (address, stride) in enumerate(planes):
        image["plane"][0, index] = address
        image["stride"][0, index] = stride
    image["alpha"], image["alpha_stride"] = alpha
    image["width"], image["height"], image["format"] = width, height, int(pixel_format)
    if ycbcr is not None:
        for name in YCbCr.__dataclass_fields__:
            image[name] = getattr(ycbcr, name)
    return image


def job_struct(image: NDArray[np.void], at: Placement) -> NDArray[np.void]:
    """One image of a batch, placed into the network's plane: shape (1,), dtype `JOB`."""
    job = np.zeros(1, JOB)
    job["image"] = image
    job["left"], job["top"], job["width"], job["height"] = at
    return job
