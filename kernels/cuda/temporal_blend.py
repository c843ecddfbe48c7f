"""An alpha steadied by the one before it, at the network's resolution.

Called by `models.stream_state` for the frames of one stream, in their order: `temporal_luma` looks
at what the network is shown, `temporal_blend` steadies what it answered.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream
from kernels.reference.resize_normalise import Channels, Layout, Triple
from kernels.reference.temporal_blend import (
    ALPHA_MOVING,
    ALPHA_STILL,
    CUT,
    LUMA_MOVING,
    LUMA_STILL,
    LUMA_WEIGHTS,
    MAX_SMOOTH,
)

LUMA = Kernel("temporal_blend", "temporal_luma")
BLEND = Kernel("temporal_blend", "temporal_blend")
KERNELS: tuple[Kernel, ...] = (LUMA, BLEND)

CHANGE_BYTES = 4  # of the sum that `temporal_luma` leaves and others read

_FLOAT4 = np.dtype([("x", np.float32), ("y", np.float32), ("z", np.float32), ("w", np.float32)])
_BLOCK = (32, 8, 1)
_THREADS = 256
_PIXELS_A_THREAD = 4  # so that few blocks meet at the one sum: 100 for a plane of 320 x 320


def cut_at(width: int, height: int) -> int:
    """The change of a plane, in levels over all pixels, from which on it shows another scene."""
    return math.ceil(CUT * width * height)


def temporal_luma(
    device: Device,
    stream: Stream,
    *,
    plane: int,
    luma: int,
    width: int,
    height: int,
    mean: Triple,
    std: Triple,
    luma_before: int = 0,
    change: int = 0,
    layout: Layout = "NCHW",
    channels: Channels = "RGB",
    half: bool = False,
) -> None:
    """Queues the luma of what the network is shown, and how much it has changed.

    Args:
        device: where.
        stream: in which order; frames of one stream must follow each other.
        plane: address of the network's input for this frame, one image of the batch.
        luma: address of (height, width) uint8.
        width: columns of the plane.
        height: rows of the plane.
        mean: of R, G, B, as the plane was normalised.
        std: the same.
        luma_before: address of the frame before's; 0: there is none.
        change: address of `CHANGE_BYTES`, which get the sum of all |luma - luma before| as uint32;
            0: nobody asks.
        layout: of the plane.
        channels: their order in the plane.
        half: the plane is float16, else float32.

    Raises:
        ValueError: a size is below 1.
    """
    check_sizes(width=width, height=height)
    pixels = width * height
    channel_step, pixel_step = (pixels, 1) if layout == "NCHW" else (1, 3)
    if change:
        device.clear(change, CHANGE_BYTES, stream)
    device.launch(
        LUMA,
        (blocks(pixels, _THREADS * _PIXELS_A_THREAD), 1, 1),
        (_THREADS, 1, 1),
        (
            address(plane),
            np.int32(half),
            np.int32(channel_step),
            np.int32(pixel_step),
            _luma_weights(mean, std, channels),
            address(luma_before),
            address(luma),
            address(change),
            np.int32(pixels),
        ),
        stream,
    )


def temporal_blend(
    device: Device,
    stream: Stream,
    *,
    alpha: int,
    kept: int,
    target: int,
    luma: int,
    width: int,
    height: int,
    smooth: float,
    alpha_before: int = 0,
    luma_before: int = 0,
    change: int = 0,
    cut: int = 0,
) -> None:
    """Queues the alpha to show and to remember.

    Args:
        device: where.
        stream: behind `temporal_luma` of the same frame.
        alpha: address of (height, width) float32 in [0, 1], what the network found.
        kept: address of the same size: the result, for the next frame.
        target: the result once more, to show; may be `alpha`.
        luma: address of (height, width) uint8, at the alpha's size.
        width: columns of the alpha.
        height: rows of the alpha.
        smooth: weight of the alpha before where nothing moves, 0..0.95.
        alpha_before: address of what this kept for the frame before.
        luma_before: address of its luma; 0: nothing of it holds, the alpha passes as it is.
        change: address of what `temporal_luma` counted; needed with `luma_before`.
        cut: the change from which on nothing of the frame before holds, see `cut_at`.

    Raises:
        ValueError: a size is below 1, or `smooth` is out of its range.
    """
    check_sizes(width=width, height=height)
    if not 0 <= smooth <= MAX_SMOOTH:
        raise ValueError(f"temporal smooth is {smooth}; allowed is 0 to {MAX_SMOOTH}")
    thresholds = np.array([(LUMA_STILL, LUMA_MOVING, ALPHA_STILL, ALPHA_MOVING)], _FLOAT4)
    device.launch(
        BLEND,
        (blocks(width, _BLOCK[0]), blocks(height, _BLOCK[1]), 1),
        _BLOCK,
        (
            address(alpha),
            address(alpha_before),
            address(kept),
            address(target),
            address(luma),
            address(luma_before),
            address(change),
            np.uint32(cut),
            np.int32(width),
            np.int32(height),
            np.float32(smooth),
            thresholds,
        ),
        stream,
    )


def _luma_weights(mean: Triple, std: Triple, channels: Channels) -> NDArray[np.void]:
    """Of the plane's channels in their order, then the constant, so that their sum is luma in
    0..255.
    """
    scaled = [255 * w * s for w, s in zip(LUMA_WEIGHTS, std, strict=True)]
    offset = 255 * sum(w * m for w, m in zip(LUMA_WEIGHTS, mean, strict=True))
    if channels == "BGR":
        scaled.reverse()
    return np.array([(*scaled, offset)], _FLOAT4)
