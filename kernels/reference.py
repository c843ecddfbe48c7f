"""NumPy twins of every kernel: the readable truth, in double precision, slow on purpose.

Called by tests only: `kernels.cpu` (and later the CUDA kernels) must agree with these within a
stated tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kernels.letterbox import Fit, place

Layout = Literal["NCHW", "NHWC"]
Channels = Literal["RGB", "BGR"]
Triple = tuple[float, float, float]

SUBJECT_LEVEL = 128  # alpha >= 0.5, in 8 bits
UNSURE_ABOVE = 12  # alpha > 0.05 is 8-bit alpha >= 13: 12 / 255 = 0.047, 13 / 255 = 0.051


@dataclass(frozen=True, slots=True)
class AlphaStatistics:
    """What an alpha says about its image, as the report carries it."""

    box: tuple[int, int, int, int] | None  # left, top, right, bottom; the last two just past it
    coverage: float  # mean alpha, 0..1
    uncertainty: float  # mean of 4 a (1 - a) over pixels with a > 0.05, 0..1; 0 when there are none


def resize_normalise(
    rgb_u8: NDArray[np.uint8],
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

    Antialiased: each side is averaged over area where it shrinks and bilinear where it grows.
        Letterbox bars are 0,
    which is the mean colour.

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
    resized = resize(rgb_u8.astype(np.float64), at.width, at.height)
    plane = np.zeros((height, width, 3))  # HWC, RGB, normalised
    inside = plane[at.top : at.top + at.height, at.left : at.left + at.width]
    inside[:] = (resized / 255 - np.array(mean)) / np.array(std)
    if channels == "BGR":
        plane = plane[:, :, ::-1]
    if layout == "NCHW":
        plane = plane.transpose(2, 0, 1)
    return np.ascontiguousarray(plane[None], np.float32)


def alpha_to_source(
    alpha: NDArray[np.float32], width: int, height: int, *, fit: Fit = "stretch"
) -> NDArray[np.uint8]:
    """Alpha at the source's size, (height, width) uint8, letterbox bars cut away.

    Args:
        alpha: (h, w) in [0, 1], covering the network's plane.
        width: columns of the source in pixels.
        height: rows of the source in pixels.
        fit: how the source was placed into the plane.
    """
    at = place((width, height), (alpha.shape[1], alpha.shape[0]), fit)
    inside = alpha[at.top : at.top + at.height, at.left : at.left + at.width]
    return _to_u8(255 * resize(inside.astype(np.float64), width, height))


def multiply_alpha(first_u8: NDArray[np.uint8], second_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The product of two (H, W) alphas, (H, W) uint8: opaque only where both are."""
    return _to_u8(first_u8.astype(np.float64) * second_u8 / 255)


def cutout(rgb_u8: NDArray[np.uint8], alpha_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA, (H, W, 4) uint8 with straight alpha; red, green and blue are 0 where alpha is 0."""
    return np.dstack([rgb_u8 * (alpha_u8[..., None] > 0), alpha_u8]).astype(np.uint8)


def composite(
    rgb_u8: NDArray[np.uint8], alpha_u8: NDArray[np.uint8], color: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """The subject over a colour: (H, W, 3) uint8 on an opaque one, else (H, W, 4) with straight
    alpha.

    Alpha becomes a + A (1 - a), colour (a rgb + A (1 - a) color) divided by that alpha, and 0
    where that alpha is 0.

    Args:
        rgb_u8: (H, W, 3), the subject's colours.
        alpha_u8: (H, W).
        color: red, green, blue and alpha, 0..255 each.
    """
    a = alpha_u8[..., None] / 255
    behind = color[3] / 255 * (1 - a)
    total = a + behind
    mixed = a * rgb_u8 + behind * np.array(color[:3], np.float64)
    colors = _to_u8(np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0))
    if color[3] == 255:
        return colors
    alpha_out = _to_u8(255 * total)
    return np.dstack([colors * (alpha_out > 0), alpha_out]).astype(np.uint8)


def alpha_statistics(alpha_u8: NDArray[np.uint8]) -> AlphaStatistics:
    """Box of alpha >= 0.5, mean alpha and uncertainty of an (H, W) alpha."""
    rows, columns = np.nonzero(alpha_u8 >= SUBJECT_LEVEL)
    box = None
    if rows.size:
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    a = alpha_u8[alpha_u8 > UNSURE_ABOVE] / 255
    uncertainty = float(np.mean(4 * a * (1 - a))) if a.size else 0.0
    return AlphaStatistics(box, float(np.mean(alpha_u8 / 255)), uncertainty)


def resize(plane: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """`plane`, (H, W) or (H, W, C), at `height` x `width`: each side by its own `weights`."""
    rows = np.tensordot(weights(plane.shape[0], height), plane, axes=(1, 0))
    resized = np.tensordot(weights(plane.shape[1], width), rows, axes=(1, 1))
    return np.ascontiguousarray(np.moveaxis(resized, 0, 1), np.float64)


def weights(samples: int, samples_out: int) -> NDArray[np.float64]:
    """Which share each of `samples` has in each of `samples_out`, (samples_out, samples); every
    row sums to 1.

    Shrinking: sample i of the result covers [i s, (i + 1) s) of the source, s = samples /
        samples_out, and takes every
    source sample by the fraction of it that lies inside. Growing: linear between the two nearest
    sample centres, the outermost sample going on past its centre.
    """
    step = samples / samples_out
    table = np.zeros((samples_out, samples))
    source = np.arange(samples)
    for i in range(samples_out):
        if step >= 1:
            inside = np.minimum(source + 1, (i + 1) * step) - np.maximum(source, i * step)
            table[i] = np.maximum(inside, 0)
        else:
            centre = min(max((i + 0.5) * step - 0.5, 0), samples - 1)
            table[i] = np.maximum(1 - np.abs(source - centre), 0)
    table /= table.sum(axis=1, keepdims=True)
    return table


def _to_u8(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
