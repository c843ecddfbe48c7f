"""A batch of pictures as the network wants it, in one pass on the device.

Called by `models.device_model` for every batch, also while a graph is captured: sizes are read from
the job table in device memory, which `store_jobs` fills.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream
from kernels.reference.resize_normalise import Channels, Layout, Triple

_BY_TYPE = {
    (layout, element): Kernel("resize_normalise", f"resize_normalise_{layout.lower()}_{element}")
    for layout in ("NCHW", "NHWC")
    for element in ("fp32", "fp16")
}
KERNELS = tuple(_BY_TYPE.values())

_TILE_WIDTH, _TILE_HEIGHT = 32, 2  # as in the kernel
_RGB = np.dtype([("red", np.float32), ("green", np.float32), ("blue", np.float32)])


def resize_normalise(
    device: Device,
    stream: Stream,
    *,
    jobs: int,
    batch: int,
    target: int,
    width: int,
    height: int,
    mean: Triple,
    std: Triple,
    layout: Layout = "NCHW",
    channels: Channels = "RGB",
    element: Literal["fp32", "fp16"] = "fp32",
) -> None:
    """Queues (sample / 255 - mean) / std of every job's picture, resized into its rectangle.

    Antialiased: each side is averaged over area where it shrinks and bilinear where it grows. Bars
    beside the rectangle are 0, and so is the whole plane of a job whose image has width 0. A source
    with alpha of its own is seen on white.

    Args:
        device: where.
        stream: its queue.
        jobs: device address of (batch,) `kernels.image.JOB`; each rectangle inside the plane, and
            of each axis pixels of the source times pixels of the rectangle below 2^30.
        batch: images, 1..65535.
        target: of (batch, 3, height, width) or (batch, height, width, 3), as `layout` says.
        width: columns of the plane in pixels.
        height: rows of the plane in pixels.
        mean: of R, G, B, in units where white is 1.
        std: of R, G, B, none of them 0.
        layout: order of the result's axes.
        channels: order of the result's colour channels.
        element: of the result.

    Raises:
        ValueError: a size is below 1.
    """
    check_sizes(batch=batch, width=width, height=height)
    scale, shift = np.zeros(1, _RGB), np.zeros(1, _RGB)
    for name, middle, spread in zip(("red", "green", "blue"), mean, std, strict=True):
        scale[name], shift[name] = 1 / (255 * spread), middle / spread
    args = (
        address(jobs),
        address(target),
        np.int32(width),
        np.int32(height),
        scale,
        shift,
        np.int32(channels == "BGR"),
    )
    grid = (blocks(width, _TILE_WIDTH), blocks(height, _TILE_HEIGHT), batch)
    device.launch(_BY_TYPE[layout, element], grid, (256, 1, 1), args, stream)
