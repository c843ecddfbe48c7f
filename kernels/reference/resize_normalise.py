"""The picture as the network wants it.

Twin of `kernels.cpu.resize_normalise` and of `cuda/resize_normalise.cu`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kernels.letterbox import Fit, place
from kernels.reference.resize import resize

Layout = Literal["NCHW", "NHWC"]
Channels = Literal["RGB", "BGR"]
Triple = tuple[float, float, float]


def resize_normalise(
    rgb_u8: NDArray[np.uint8 | np.float64],
    width: int,
    height: int,
    mean: Triple,
    std: Triple,
    *,
    layout: Layout = "NCHW",
    fit: Fit = "stretch",
    channels: Channels = "RGB",
    alpha_u8: NDArray[np.uint8] | None = None,
) -> NDArray[np.float32]:
    """Network input, (1, 3, height, width) or (1, height, width, 3) float32: (sample / 255 - mean)
    / std.

    Antialiased: each side is averaged over area where it shrinks and bilinear where it grows.
    Letterbox bars are 0, which is the mean colour.

    Args:
        rgb_u8: (H, W, 3); a picture that was not rounded may be given as floats in 0..255.
        width: columns of the plane in pixels.
        height: rows of the plane in pixels.
        mean: of R, G, B, in units where white is 1.
        std: of R, G, B, none of them 0.
        layout: order of the result's axes.
        fit: see `kernels.letterbox`.
        channels: order of the result's colour channels.
        alpha_u8: (H, W), the source's own; the network is shown the source on white, as what lies
            under a transparent pixel is arbitrary. None: it is opaque.
    """
    at = place((rgb_u8.shape[1], rgb_u8.shape[0]), (width, height), fit)
    visible = rgb_u8.astype(np.float64)
    if alpha_u8 is not None:
        visible = 255 + (visible - 255) * (alpha_u8[..., None] / 255)
    resized = resize(visible, at.width, at.height)
    plane = np.zeros((height, width, 3))  # HWC, RGB, normalised
    inside = plane[at.top : at.top + at.height, at.left : at.left + at.width]
    inside[:] = (resized / 255 - np.array(mean)) / np.array(std)
    if channels == "BGR":
        plane = plane[:, :, ::-1]
    if layout == "NCHW":
        plane = plane.transpose(2, 0, 1)
    return np.ascontiguousarray(plane[None], np.float32)
