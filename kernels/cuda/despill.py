"""Takes the cast of a green or blue screen out of a picture's colours on the device.

For the device pipeline and `Foreground.despill`, which the host finishes so far (docs/gpu.md).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream

DESPILL = Kernel("despill", "despill")
KERNELS = (DESPILL,)

Screen = Literal["green", "blue"]
Limit = Literal["max", "average"]
LUMA = {"green": 0.7152, "blue": 0.0722}  # weights of Rec. ITU-R BT.709


def despill(
    device: Device,
    stream: Stream,
    *,
    image: NDArray[np.void],
    target: int,
    width: int,
    height: int,
    screen: Screen,
    limit: Limit = "max",
    strength: float = 1.0,
    keep_luma: bool = False,
) -> None:
    """Queues `despill`; `kernels.reference.despill` has the definition.

    Args:
        device: where.
        stream: its queue.
        image: a picture as `kernels.image.image_struct` makes it.
        target: device address of (height, width, 3) uint8 RGB; may be the image's own plane when
            that is tightly packed RGB8.
        width: columns of the image in pixels.
        height: rows of the image in pixels.
        screen: colour of the screen.
        limit: what the screen's channel may not exceed: the larger of the other two, or their mean.
        strength: 0 (nothing) to 1.
        keep_luma: give the luma that is taken out back to all three channels.

    Raises:
        ValueError: a size is below 1.
    """
    check_sizes(width=width, height=height)
    args = (
        image,
        address(target),
        np.int32(screen == "blue"),
        np.int32(limit == "average"),
        np.float32(strength),
        np.float32(LUMA[screen] if keep_luma else 0),
    )
    device.launch(DESPILL, (blocks(width, 128), blocks(height, 8), 1), (32, 8, 1), args, stream)
