"""What the device counts of an alpha, and how it becomes what the report says.

The counts lie in a header in front of the finished pixels, so that one copy to the host brings
both. Written by `kernels.cuda.finish` and `kernels.cuda.alpha_statistics`, read by
`server.device_pipeline`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.device import Grid
from kernels.reference.alpha_statistics import AlphaStatistics, doubt

HEADER_BYTES = 256  # STATISTICS and room; keeps the pixels behind it aligned

# The struct of the kernels. All zero is "nothing seen", so that clearing the memory starts it.
STATISTICS = np.dtype(
    [
        ("sum", np.uint64),  # of alpha, 0..255
        ("unsure_pixels", np.uint64),  # alpha > 12: their number,
        ("unsure_sum", np.uint64),  # sum
        ("unsure_squares", np.uint64),  # and sum of squares
        ("from_right", np.uint32),  # alpha >= 128: most of width - x,
        ("from_bottom", np.uint32),  # height - y,
        ("right", np.uint32),  # x + 1
        ("bottom", np.uint32),  # and y + 1
        ("not_finite", np.uint32),  # 1: the network's answer was nonsense
        ("unused", np.uint32, 3),
    ]
)

_PIXELS_A_BLOCK = 4 * 256
_BLOCKS = 512  # about 4 for each SM of a large GPU: enough to keep memory busy, few atomics
_MOST_ROUNDS = 64  # 4 * 64 pixels a thread: a warp's sum of squares stays below 2^32


def launch_shape(width: int, height: int) -> tuple[Grid, Grid]:
    """Grid and block of the kernels that count: every thread takes 4 pixels a round, in rounds."""
    needed = -(-width * height // _PIXELS_A_BLOCK)
    blocks = max(min(needed, _BLOCKS), -(-needed // _MOST_ROUNDS))
    return (blocks, 1, 1), (256, 1, 1)


def read_statistics(counted: NDArray[np.void], width: int, height: int) -> AlphaStatistics:
    """The report's figures, the same as `kernels.reference.alpha_statistics` gives.

    Args:
        counted: one `STATISTICS`, shape () or (1,).
        width: columns of the alpha in pixels.
        height: rows of the alpha in pixels.
    """
    names = STATISTICS.names or ()
    number = {name: int(counted[name].flat[0]) for name in names if name != "unused"}
    box = None
    if number["right"]:
        left, top = width - number["from_right"], height - number["from_bottom"]
        box = (left, top, number["right"], number["bottom"])
    # The sum of 4 a (1 - a) by the sums of a and of a * a.
    mixed = 4 * (255 * number["unsure_sum"] - number["unsure_squares"]) / 255**2
    uncertainty = doubt(mixed, number["unsure_pixels"], width * height)
    return AlphaStatistics(box, number["sum"] / (255 * width * height), uncertainty)


def header_of(result: NDArray[np.uint8]) -> NDArray[np.void]:
    """The `STATISTICS` in front of a finished result, shape (1,); a view.

    Args:
        result: (n,) uint8 as the device wrote it, header first.
    """
    return result[: STATISTICS.itemsize].view(STATISTICS)
