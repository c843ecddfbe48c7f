"""Network input from a picture: resized and normalised in one go.

Called by `models.model`; twin of `kernels.reference.resize_normalise`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.resize import resize_for_network
from kernels.letterbox import Fit, Placement, place
from kernels.reference import Channels, Layout, Triple

U8 = NDArray[np.uint8]


def resize_normalise(
    rgb_u8: U8,
    width: int,
    height: int,
    mean: Triple,
    std: Triple,
    *,
    layout: Layout = "NCHW",
    fit: Fit = "stretch",
    channels: Channels = "RGB",
) -> NDArray[np.float32]:
    """Network input, (1, 3, height, width) or (1, height, width, 3) float32: (sample / 255 - mean)
    / std.

    Args:
        rgb_u8: (H, W, 3).
        width: columns of the plane in pixels.
        height: rows of the plane in pixels.
        mean: of R, G, B, in units where white is 1.
        std: of R, G, B, none of them 0.
        layout: order of the result's axes.
        fit: see `kernels.letterbox`.
        channels: order of the result's colour channels.
    """
    at = place((rgb_u8.shape[1], rgb_u8.shape[0]), (width, height), fit)
    planes = cv2.split(resize_for_network(rgb_u8, at.width, at.height))
    order = (2, 1, 0) if channels == "BGR" else (0, 1, 2)
    covers_all = at == Placement(0, 0, width, height)
    shape = (1, 3, height, width) if layout == "NCHW" else (1, height, width, 3)
    tensor = (np.empty if covers_all else np.zeros)(shape, np.float32)
    for target, source in enumerate(order):
        whole = tensor[0, target] if layout == "NCHW" else tensor[0, :, :, target]
        inside = whole[at.top : at.top + at.height, at.left : at.left + at.width]
        # (s / 255 - mean) / std as one multiply and one add in place.
        np.multiply(planes[source], np.float32(1 / (255 * std[source])), out=inside)
        if mean[source]:
            np.subtract(inside, np.float32(mean[source] / std[source]), out=inside)
    return tensor
