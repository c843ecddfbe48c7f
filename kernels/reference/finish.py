"""From the network's alpha to the pixels that are sent back: the other twins in their order.

Twin of `cuda/finish.cu`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from kernels.reference.alpha_statistics import AlphaStatistics, alpha_statistics
from kernels.reference.composite import composite, cutout
from kernels.reference.multiply_alpha import multiply_alpha


class FinishOutput(IntEnum):
    """What `finish` writes; the numbers are those of the kernel."""

    ALPHA = 0  # (H, W)
    CUTOUT = 1  # (H, W, 4)
    OPAQUE = 2  # (H, W, 3), over an opaque colour
    TRANSLUCENT = 3  # (H, W, 4), over a colour with alpha
    RGB = 4  # (H, W, 3), the picture's own colours

    @property
    def channels(self) -> int:
        """Bytes of a pixel."""
        return (1, 4, 3, 4, 3)[self]


def finish(
    rgb_u8: NDArray[np.uint8],
    alpha_u8: NDArray[np.uint8],
    output: FinishOutput,
    color: tuple[int, int, int, int] = (0, 0, 0, 0),
    own_alpha_u8: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], AlphaStatistics]:
    """Pixels as `output` says, the alpha behind them (H, W), and what is counted of it.

    Args:
        rgb_u8: (H, W, 3).
        alpha_u8: (H, W), the network's at the source's size, as `alpha_to_source` makes it.
        output: which pixels.
        color: red, green, blue and alpha behind the subject, 0..255; its alpha is 255 for OPAQUE.
        own_alpha_u8: (H, W), the source's own; None: it is opaque.
    """
    alpha = alpha_u8 if own_alpha_u8 is None else multiply_alpha(alpha_u8, own_alpha_u8)
    statistics = alpha_statistics(alpha)
    if output is FinishOutput.ALPHA:
        return alpha, alpha, statistics
    if output is FinishOutput.RGB:
        return rgb_u8, alpha, statistics
    if output is FinishOutput.CUTOUT:
        return cutout(rgb_u8, alpha), alpha, statistics
    if (output is FinishOutput.OPAQUE) != (color[3] == 255):
        raise ValueError(f"output {output.name} does not fit a colour with alpha {color[3]}")
    return composite(rgb_u8, alpha, color), alpha, statistics
