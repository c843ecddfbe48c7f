"""The network's raw answer made into alphas on the device.

Called by `models.device_model` after every run of the engine, also while a graph is captured.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream
from kernels.reference.activate import Activation

_RANGE = {element: Kernel("activate", f"activate_range_{element}") for element in ("fp32", "fp16")}
_ACTIVATE = {element: Kernel("activate", f"activate_{element}") for element in ("fp32", "fp16")}
KERNELS = (*_RANGE.values(), *_ACTIVATE.values())

RANGE_BYTES = 8  # an image's share of `ranges`
FLAG_BYTES = 4  # and of `flags`

_THREADS = 256
_PIXELS_A_THREAD = 16  # of the range kernel, so that few blocks meet at an image's two numbers
_CODES: dict[Activation, int] = {"none": 0, "sigmoid": 1, "softmax": 2, "minmax": 3}
_AXES = np.dtype(
    [(n, np.int32) for n in ("pixels", "channels", "channel", "pixel_step", "channel_step")]
)


def activate(
    device: Device,
    stream: Stream,
    *,
    raw: int,
    target: int,
    flags: int,
    ranges: int,
    batch: int,
    channels: int,
    width: int,
    height: int,
    channel: int = 0,
    layout: Literal["NCHW", "NHWC", "NHW"] = "NCHW",
    activation: Activation = "none",
    element: Literal["fp32", "fp16"] = "fp32",
) -> None:
    """Queues alphas in [0, 1] of a batch, and for each image whether its answer was nonsense.

    Args:
        device: where.
        stream: its queue.
        raw: device address of the answer, its axes as `layout` says.
        target: of (batch, height, width) float32.
        flags: of (batch,) uint32: 1 where any value of any channel is not finite, whose alpha is
            then 0; else 0.
        ranges: of batch * 8 bytes of scratch, needed for "minmax" only; else 0.
        batch: images, 1..65535.
        channels: of the answer; 1 for "NHW".
        width: columns of the answer in pixels.
        height: rows of the answer in pixels.
        channel: which one is the subject.
        layout: order of the answer's axes.
        activation: see `kernels.reference.activate`.
        element: of the answer.

    Raises:
        ValueError: a size is below 1, or there is no such channel.
    """
    check_sizes(batch=batch, channels=channels, width=width, height=height)
    if not 0 <= channel < channels:
        raise ValueError(f"channel is {channel}; allowed are 0 to {channels - 1}")
    pixels = width * height
    last = layout == "NHWC"
    axes = np.zeros(1, _AXES)
    axes[0] = (pixels, channels, channel, channels if last else 1, 1 if last else pixels)
    block = (_THREADS, 1, 1)
    device.clear(flags, FLAG_BYTES * batch, stream)
    if activation == "minmax":
        device.clear(ranges, RANGE_BYTES * batch, stream)
        grid = (blocks(pixels, _THREADS * _PIXELS_A_THREAD), batch, 1)
        args = (address(raw), address(ranges), axes)
        device.launch(_RANGE[element], grid, block, args, stream)
    device.launch(
        _ACTIVATE[element],
        (blocks(pixels, _THREADS), batch, 1),
        block,
        (
            address(raw),
            address(target),
            address(flags),
            address(ranges),
            axes,
            np.int32(_CODES[activation]),
        ),
        stream,
    )
