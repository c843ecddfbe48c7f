"""RGB to NV12, and the matrix that does it.

Twin of `cuda/rgba_to_nv12.cu`; its launcher takes the matrix from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class RGBToYCbCr:
    """How red, green and blue become luma and chroma; `kernels.image.YCbCr` goes back.

    Attributes:
        luma: shares of R, G, B, each 0..255, in Y.
        cb, cr: the same in Cb - 128 and Cr - 128.
        luma_offset: Y of black.
    """

    luma: Triple
    cb: Triple
    cr: Triple
    luma_offset: float

    @classmethod
    def of(cls, red_weight: float, blue_weight: float, *, full_range: bool) -> RGBToYCbCr:
        """The matrix of a standard, ITU-R BT.601-7 and BT.709-6.

        Args:
            red_weight: of red in luma: 0.299 (BT.601), 0.2126 (BT.709).
            blue_weight: of blue in luma: 0.114, 0.0722.
            full_range: samples use 0..255; else luma 16..235 and chroma 16..240.
        """
        luma = np.array([red_weight, 1 - red_weight - blue_weight, blue_weight])
        chroma = (1.0 if full_range else 224 / 255) / 2
        cb = (np.array([0, 0, 1]) - luma) / (1 - blue_weight) * chroma
        cr = (np.array([1, 0, 0]) - luma) / (1 - red_weight) * chroma
        scaled = luma * (1.0 if full_range else 219 / 255)
        return cls(_triple(scaled), _triple(cb), _triple(cr), 0.0 if full_range else 16.0)


def rgba_to_nv12(
    pixels: NDArray[np.uint8], matrix: RGBToYCbCr
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Luma, (H, W) uint8, and chroma, (H / 2, W) uint8 as Cb, Cr, Cb, Cr, ...

    Chroma is that of the mean colour of each 2x2 block.

    Args:
        pixels: (H, W, 3 or 4) uint8, RGB or RGBA, H and W even; alpha is not looked at.
        matrix: of the standard.

    Raises:
        ValueError: a side is odd.
    """
    height, width = pixels.shape[:2]
    check_even(width, height)
    rgb = pixels[..., :3].astype(np.float64)
    luma = rgb @ np.array(matrix.luma) + matrix.luma_offset
    blocks = rgb.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    chroma = blocks @ np.array([matrix.cb, matrix.cr]).T + 128
    return to_u8(luma), to_u8(chroma).reshape(height // 2, width)


def check_even(width: int, height: int) -> None:
    """Refuses sides that NV12 cannot have.

    Raises:
        ValueError: one of them is odd.
    """
    if width % 2 or height % 2:
        raise ValueError(
            f"image is {width}x{height}, NV12 takes even sides only: crop or pad it by one pixel"
        )


def _triple(values: NDArray[np.float64]) -> Triple:
    first, second, third = (float(value) for value in values)
    return first, second, third
