"""The network's alpha at the size of its picture, on the device.

Called by `server.device_edges`, where something is done to the full-size alpha before `finish`,
which else does this on the way.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.cuda.network import network_struct
from kernels.device import Device, Kernel, Stream
from kernels.letterbox import Placement

_BY_ELEMENT = {
    "u8": Kernel("alpha_to_source", "alpha_to_source_u8"),
    "f32": Kernel("alpha_to_source", "alpha_to_source_f32"),
}
KERNELS = tuple(_BY_ELEMENT.values())

_PIXELS_A_BLOCK = 4 * 256


def alpha_to_source(
    device: Device,
    stream: Stream,
    *,
    alpha: int,
    plane_width: int,
    at: Placement,
    target: int,
    width: int,
    height: int,
    element: Literal["u8", "f32"] = "u8",
) -> None:
    """Queues the alpha at the source's size, letterbox bars cut away.

    Args:
        device: where.
        stream: its queue.
        alpha: device address of the network's plane, (rows, plane_width) float32 in [0, 1].
        plane_width: columns of the plane.
        at: the part of the plane that the image covers; of each axis, its samples times the
            source's pixels are below 2^30.
        target: of (height, width) uint8 in 0..255, or float32 in [0, 1]; a multiple of 16.
        width: columns of the source in pixels.
        height: rows of the source in pixels.
        element: of the result.

    Raises:
        ValueError: a size is below 1.
    """
    check_sizes(plane_width=plane_width, width=width, height=height)
    args = (
        network_struct(alpha, plane_width, at),
        address(target),
        np.int32(width),
        np.int32(height),
    )
    grid = (blocks(width * height, _PIXELS_A_BLOCK), 1, 1)
    device.launch(_BY_ELEMENT[element], grid, (256, 1, 1), args, stream)
