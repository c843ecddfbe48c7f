"""The subject over nothing, a colour or a picture, in one pass over the full-size image.

For the device pipeline and the outputs that `finish` does not make, which the host makes so far
(docs/gpu.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.backdrop import Backdrop
from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream

COLOR = Kernel("composite", "composite_color")
IMAGE = Kernel("composite", "composite_image")
KERNELS: tuple[Kernel, ...] = (COLOR, IMAGE)

TRANSPARENT = (0, 0, 0, 0)
_UCHAR4 = np.dtype([("x", np.uint8), ("y", np.uint8), ("z", np.uint8), ("w", np.uint8)])
_BLOCK = 256
_MOST = 2**30  # pixels; a position and a side of that length still add up to an int
_PIXELS = 4 * _BLOCK  # four a thread


def composite_color(
    device: Device,
    stream: Stream,
    *,
    foreground: NDArray[np.void],
    alpha: int,
    color: tuple[int, int, int, int] = TRANSPARENT,
    target: int,
) -> None:
    """Queues the subject over a colour; over nothing where the colour's alpha is 0.

    Args:
        device: where.
        stream: in which order.
        foreground: the subject's colours, an `IMAGE` struct of the canvas' size.
        alpha: address of (height, width) uint8, tight; a multiple of 4.
        color: red, green, blue and alpha, 0..255 each.
        target: address of (height, width, 3) uint8 where the colour is opaque, else (height, width,
            4), tight; a multiple of 16.

    Raises:
        ValueError: a side of the foreground is below 1.
    """
    grid = _grid(foreground)
    args = (foreground, address(alpha), _uchar4(color), address(target))
    device.launch(COLOR, grid, (_BLOCK, 1, 1), args, stream)


def composite_image(
    device: Device,
    stream: Stream,
    *,
    foreground: NDArray[np.void],
    alpha: int,
    background: NDArray[np.void],
    backdrop: Backdrop,
    color: tuple[int, int, int, int] = (255, 255, 255, 255),
    target: int,
) -> None:
    """Queues the subject over a picture, which is resized on the way.

    A background that is used again and again is best resized once: composited behind an alpha that
    is 0 everywhere it is the result, and at the canvas' own size it costs one sample a pixel.

    Args:
        device: where.
        stream: in which order.
        foreground: the subject's colours, an `IMAGE` struct of the canvas' size.
        alpha: address of (height, width) uint8, tight; a multiple of 4.
        background: an `IMAGE` struct of any size; its own alpha counts.
        backdrop: where it lies; for the planes of `kernels.cuda.blur`, `lay(..., "stretch")`.
        color: behind the background, where that is translucent or does not reach.
        target: address of (height, width, 3) uint8 where the colour is opaque, else (height, width,
            4), tight; a multiple of 16.

    Raises:
        ValueError: a side is below 1, or the backdrop reaches further than 2^30 pixels.
    """
    grid = _grid(foreground)
    check_sizes(
        background_width=int(background["width"][0]),
        background_height=int(background["height"][0]),
        scaled_width=backdrop.width,
        scaled_height=backdrop.height,
    )
    _check_reach(foreground, backdrop)
    args = (
        foreground,
        address(alpha),
        background,
        np.int32(backdrop.left),
        np.int32(backdrop.top),
        np.int32(backdrop.width),
        np.int32(backdrop.height),
        np.int32(backdrop.repeat),
        _uchar4(color),
        address(target),
    )
    device.launch(IMAGE, grid, (_BLOCK, 1, 1), args, stream)


def _grid(foreground: NDArray[np.void]) -> tuple[int, int, int]:
    width, height = int(foreground["width"][0]), int(foreground["height"][0])
    check_sizes(width=width, height=height)
    return (blocks(width * height, _PIXELS), 1, 1)


def _check_reach(foreground: NDArray[np.void], backdrop: Backdrop) -> None:
    """The kernel counts pixels of the scaled background, from its corner on, in 32 bits."""
    for corner, scaled, side in (
        (backdrop.left, backdrop.width, int(foreground["width"][0])),
        (backdrop.top, backdrop.height, int(foreground["height"][0])),
    ):
        if scaled > _MOST or abs(corner) + side > _MOST:
            raise ValueError(
                f"the background would be scaled to {backdrop.width} x {backdrop.height} pixels"
                f" with its corner at {backdrop.left}, {backdrop.top}; at most {_MOST} are"
                " allowed each way: cut the background, or fit it by 'contain', 'tile' or 'stretch'"
            )


def _uchar4(color: tuple[int, int, int, int]) -> NDArray[np.void]:
    return np.array([color], _UCHAR4)
