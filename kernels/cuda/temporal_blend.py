"""An alpha steadied by the one before it, at the network's resolution.

For the device pipeline and the frames of one stream, in their order, between the network and the
resizing of the alpha; nothing of the server calls it so far (docs/gpu.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream
from kernels.reference.resize_normalise import Channels, Layout, Triple
from kernels.reference.temporal_blend import (
    ALPHA_MOVING,
    ALPHA_STILL,
    LUMA_MOVING,
    LUMA_STILL,
    LUMA_WEIGHTS,
)

LUMA = Kernel("temporal_blend", "temporal_luma")
BLEND = Kernel("temporal_blend", "temporal_blend")
KERNELS: tuple[Kernel, ...] = (LUMA, BLEND)

MAX_SMOOTH = 0.95
_FLOAT4 = np.dtype([("x", np.float32), ("y", np.float32), ("z", np.float32), ("w", np.float32)])
_BLOCK = (32, 8, 1)


def state_bytes(width: int, height: int) -> int:
    """Bytes that a stream keeps on the device between its frames: alpha float32, luma uint8."""
    return 5 * width * height


def scratch_bytes(width: int, height: int) -> int:
    """Bytes that one call needs for itself."""
    return width * height


def temporal_blend(
    device: Device,
    stream: Stream,
    *,
    plane: int,
    alpha: int,
    state: int,
    scratch: int,
    target: int,
    width: int,
    height: int,
    mean: Triple,
    std: Triple,
    smooth: float,
    first: bool,
    layout: Layout = "NCHW",
    channels: Channels = "RGB",
    half: bool = False,
) -> None:
    """Queues the steadied alpha of one frame, and remembers it.

    Args:
        device: where.
        stream: in which order; frames of one stream must follow each other.
        plane: address of the network's input for this frame, one image of the batch.
        alpha: address of (height, width) float32 in [0, 1], what the network found.
        state: address of `state_bytes`, a multiple of 4, kept from frame to frame; its contents do
            not matter before the first one.
        scratch: address of `scratch_bytes`.
        target: address of (height, width) float32 in [0, 1]; may be `alpha`.
        width: columns of the plane.
        height: rows of the plane.
        mean: of R, G, B, as the plane was normalised.
        std: the same.
        smooth: weight of the previous alpha where nothing moves, 0..0.95.
        first: there is no frame before this one, or it had another size: alpha passes as it is.
        layout: of the plane.
        channels: their order in the plane.
        half: the plane is float16, else float32.

    Raises:
        ValueError: a size is below 1, or `smooth` is out of its range.
    """
    check_sizes(width=width, height=height)
    if not 0 <= smooth <= MAX_SMOOTH:
        raise ValueError(f"temporal smooth is {smooth}; allowed is 0 to {MAX_SMOOTH}")
    pixels = width * height
    channel_step, pixel_step = (pixels, 1) if layout == "NCHW" else (1, 3)
    kept, luma = state, state + 4 * pixels
    grid = (blocks(width, _BLOCK[0]), blocks(height, _BLOCK[1]), 1)
    sizes = (np.int32(width), np.int32(height))
    device.launch(
        LUMA,
        grid,
        _BLOCK,
        (
            address(plane),
            np.int32(half),
            np.int32(channel_step),
            np.int32(pixel_step),
            _luma_weights(mean, std, channels),
            address(luma),
            address(scratch),
            *sizes,
            np.int32(first),
        ),
        stream,
    )
    thresholds = np.array([(LUMA_STILL, LUMA_MOVING, ALPHA_STILL, ALPHA_MOVING)], _FLOAT4)
    device.launch(
        BLEND,
        grid,
        _BLOCK,
        (
            address(alpha),
            address(scratch),
            address(kept),
            address(target),
            *sizes,
            np.float32(smooth),
            thresholds,
            np.int32(first),
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
