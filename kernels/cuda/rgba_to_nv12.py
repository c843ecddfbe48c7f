"""RGB to NV12 in one pass, for results that a video encoder takes.

For the device pipeline; nothing of the server calls it so far (docs/gpu.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream
from kernels.reference.rgba_to_nv12 import RGBToYCbCr, check_even

NV12 = Kernel("rgba_to_nv12", "rgba_to_nv12")
KERNELS: tuple[Kernel, ...] = (NV12,)

FORWARD = np.dtype(
    [
        ("luma", np.float32, 4),
        ("cb", np.float32, 4),
        ("cr", np.float32, 4),
        ("luma_offset", np.float32),
        ("unused", np.int32, 3),
    ]
)
_BLOCK = (32, 8, 1)


def rgba_to_nv12(
    device: Device,
    stream: Stream,
    *,
    image: NDArray[np.void],
    matrix: RGBToYCbCr,
    luma: int,
    chroma: int,
    luma_stride: int = 0,
    chroma_stride: int = 0,
) -> None:
    """Queues a picture as NV12; what is transparent must have been composited before.

    Args:
        device: where.
        stream: in which order.
        image: an `IMAGE` struct; RGB8, BGR8 and RGBA8 whose rows begin at multiples of 4 are read
            by whole words, others byte by byte.
        matrix: of the standard.
        luma: address of height rows of width bytes.
        chroma: address of height / 2 rows of width bytes.
        luma_stride: bytes from row to row of luma; 0: width.
        chroma_stride: the same of chroma.

    Raises:
        ValueError: a side is odd or below 1, or a row does not fit its stride.
    """
    width, height = int(image["width"][0]), int(image["height"][0])
    check_sizes(width=width, height=height)
    check_even(width, height)
    for stride in (luma_stride, chroma_stride):
        if stride and stride < width:
            raise ValueError(f"stride is {stride} bytes, a row has {width}: allow at least that")
    forward = np.zeros(1, FORWARD)
    for name in ("luma", "cb", "cr"):
        forward[name][0, :3] = getattr(matrix, name)
    forward["luma_offset"] = matrix.luma_offset
    args = (
        image,
        forward,
        address(luma),
        np.int32(luma_stride or width),
        address(chroma),
        np.int32(chroma_stride or width),
    )
    grid = (blocks(width, 4 * _BLOCK[0]), blocks(height, 2 * _BLOCK[1]), 1)
    device.launch(NV12, grid, _BLOCK, args, stream)
