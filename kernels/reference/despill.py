"""Takes the cast of a green or blue screen out of a picture's colours.

Twin of `cuda/despill.cu`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8

_LUMA = (0.2126, 0.7152, 0.0722)  # Rec. ITU-R BT.709


def despill(
    rgb_u8: NDArray[np.uint8],
    screen: Literal["green", "blue"],
    *,
    limit: Literal["max", "average"] = "max",
    strength: float = 1.0,
    keep_luma: bool = False,
) -> NDArray[np.uint8]:
    """Colours without the screen's cast, (H, W, 3) uint8.

    The screen's channel is brought down, by `strength` of the excess, to a limit that the other two
    set. "max" leaves every colour alone in which the screen's channel is not the largest (skin,
    yellow, white); "average" takes more out and turns yellow towards orange. What `keep_luma`
    gives back is grey, so that hues are the same with and without it.

    Args:
        rgb_u8: (H, W, 3).
        screen: its colour.
        limit: the larger of the other two channels, or their mean.
        strength: 0..1.
        keep_luma: add the luma that was taken out (BT.709) to all three channels.
    """
    channel = 1 if screen == "green" else 2
    colours = rgb_u8.astype(np.float64)
    others = np.delete(colours, channel, axis=2)
    most = others.max(axis=2) if limit == "max" else others.mean(axis=2)
    removed = strength * np.maximum(colours[..., channel] - most, 0)
    colours[..., channel] -= removed
    if keep_luma:
        colours += (_LUMA[channel] * removed)[..., None]
    return to_u8(colours)
