"""Blurs an alpha by a Gaussian on the device, at a cost that does not grow with its width.

For the device pipeline and `Edges.feather_px`, which the host finishes so far (docs/gpu.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Argument, Device, Kernel, Stream

TILE = Kernel("feather", "feather_tile")
SHRINK = Kernel("feather", "feather_shrink")
HALVE_U8 = Kernel("feather", "feather_halve_u8")
HALVE_U16 = Kernel("feather", "feather_halve_u16")
GROW = Kernel("feather", "feather_grow")
KERNELS = (TILE, SHRINK, HALVE_U8, HALVE_U16, GROW)

REACH = 16  # the tile's largest radius, as in feather.cu
_BLOCK = (32, 8, 1)
_TILE = 32
Size = tuple[int, int]  # columns, rows
_WEIGHTS = np.dtype([("at", np.float32, REACH + 1)])


class Plan(NamedTuple):
    """How a blur is done: on cells of `scale` x `scale` pixels, by `sigma` cells."""

    scale: int  # 1, 2, 4, 8, 16 or 32
    sigma: float


def plan(sigma: float) -> Plan:
    """Cells as large as leave them a standard deviation of at least 1.8, see feather.cu."""
    if sigma < REACH / 4:  # 4 sigma: what lies beyond weighs less than 1 / 10,000
        return Plan(1, sigma)
    scale = 2 ** (int(math.log2(sigma / 4)) + 1)
    variance = sigma**2 - ((scale / 2) ** 2 - 1) / 12 - 3 * scale**2 / 16 - scale**2 / 4
    return Plan(scale, math.sqrt(variance) / scale)


def scratch_bytes(width: int, height: int, sigma: float) -> int:
    """Scratch that `feather` needs, in bytes: none below sigma 4, else up to 0.7 a pixel and a
    little for the cells' ring.
    """
    scale = plan(sigma).scale
    size = (width, height)
    fine = _bytes(_cells(size, scale // 2)) if scale > 2 else 0
    return fine + _bytes(_cells(size, scale)) if scale > 1 else 0


def feather(
    device: Device,
    stream: Stream,
    *,
    alpha: int,
    target: int,
    scratch: int,
    width: int,
    height: int,
    sigma: float,
) -> None:
    """Queues `feather`, within 1 level of `kernels.reference.feather`.

    Args:
        device: where.
        stream: its queue.
        alpha: device address of (height, width) uint8.
        target: of the result, the same shape; must not be `alpha`.
        scratch: of `scratch_bytes` bytes, a multiple of 2; not read when that is 0.
        width: columns in pixels.
        height: rows in pixels.
        sigma: standard deviation in pixels, 0 (a copy) to 100.

    Raises:
        ValueError: a size is below 1, or `sigma` is not in 0..100.
    """
    check_sizes(width=width, height=height)
    if not 0 <= sigma <= 100:
        raise ValueError(f"feather sigma is {sigma} pixels; allowed are 0 to 100")
    scale, cell_sigma = plan(sigma)
    size = (width, height)
    if scale == 1:
        _blur(device, stream, TILE, (address(alpha), address(target)), size=size, sigma=sigma)
        return
    cells, cells_wh = scratch, _cells(size, scale)
    if scale == 2:
        source: tuple[Argument, ...] = (address(alpha), *_ints(size), address(cells))
        _blur(device, stream, HALVE_U8, source, size=cells_wh, sigma=cell_sigma)
    else:
        fine_wh = _cells(size, scale // 2)
        fine = scratch + _bytes(cells_wh)
        _shrink(device, stream, alpha=alpha, fine=fine, size=size, scale=scale // 2)
        source = (address(fine), *_ints(fine_wh), address(cells))
        _blur(device, stream, HALVE_U16, source, size=cells_wh, sigma=cell_sigma)
    device.launch(
        GROW,
        (blocks(width, 128), blocks(height, 8), 1),
        _BLOCK,
        (address(cells), address(target), *_ints((width, height, scale, cells_wh[0]))),
        stream,
    )


def _shrink(
    device: Device, stream: Stream, *, alpha: int, fine: int, size: Size, scale: int
) -> None:
    fine_wh = _cells(size, scale)
    columns = max(scale, 4) - scale + scale * fine_wh[0]  # that lanes cover, from the ring on
    device.launch(
        SHRINK,
        (blocks(columns, 128), blocks(fine_wh[1], 8), 1),
        _BLOCK,
        (address(alpha), address(fine), *_ints((*size, scale, *fine_wh))),
        stream,
    )


def _blur(
    device: Device,
    stream: Stream,
    kernel: Kernel,
    buffers: tuple[Argument, ...],
    *,
    size: Size,
    sigma: float,
) -> None:
    radius = min(REACH, math.ceil(4 * sigma))
    device.launch(
        kernel,
        (blocks(size[0], _TILE), blocks(size[1], _TILE), 1),
        _BLOCK,
        (*buffers, *_ints((*size, radius)), _weights(sigma, radius)),
        stream,
    )


def _weights(sigma: float, radius: int) -> NDArray[np.void]:
    """The Gaussian's centre and one side, as feather.cu takes them: shape (1,)."""
    offsets = np.arange(radius + 1)
    side = np.exp(-(offsets**2) / (2 * sigma**2)) if sigma else (offsets == 0).astype(np.float64)
    weights = np.zeros(1, _WEIGHTS)
    weights["at"][0, : radius + 1] = side / (2 * side.sum() - side[0])
    return weights


def _cells(size: Size, scale: int) -> Size:
    return blocks(size[0], scale) + 2, blocks(size[1], scale) + 2


def _bytes(cells_wh: Size) -> int:
    return blocks(2 * cells_wh[0] * cells_wh[1], 256) * 256


def _ints(values: tuple[int, ...]) -> tuple[np.int32, ...]:
    return tuple(np.int32(value) for value in values)
