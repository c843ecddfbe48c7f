"""What is counted of an alpha on the device.

Called by `server.device_edges` for the alpha before it is refined: `finish` counts the one after.
"""

from __future__ import annotations

import numpy as np

from kernels.cuda.launch import address, check_sizes
from kernels.device import Device, Kernel, Stream
from kernels.statistics import STATISTICS, launch_shape

ALPHA_STATISTICS = Kernel("alpha_statistics", "alpha_statistics")
KERNELS = (ALPHA_STATISTICS,)


def alpha_statistics(
    device: Device, stream: Stream, *, alpha: int, target: int, width: int, height: int
) -> None:
    """Queues the counts of an alpha; `kernels.statistics.read_statistics` reads them.

    Args:
        device: where.
        stream: its queue.
        alpha: device address of (height, width) uint8, a multiple of 4.
        target: of one `kernels.statistics.STATISTICS`, a multiple of 8.
        width: columns in pixels.
        height: rows in pixels.

    Raises:
        ValueError: a size is below 1.
    """
    check_sizes(width=width, height=height)
    device.clear(target, STATISTICS.itemsize, stream)
    grid, block = launch_shape(width, height)
    args = (address(alpha), address(target), np.int32(width), np.int32(height))
    device.launch(ALPHA_STATISTICS, grid, block, args, stream)
