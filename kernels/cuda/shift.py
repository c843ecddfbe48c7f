"""Grows or shrinks the subject of an alpha on the device, by up to 100 pixels and parts of one.

For the device pipeline and `Edges.shift_px`, which the host finishes so far (docs/gpu.md).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream

STEP = Kernel("shift", "shift_step")
KERNELS = (STEP,)

REACH = 15  # pixels of one step, as in shift.cu
_TILE = 32
_DISCS = np.dtype([("half", np.int32, 32)])  # 16 of each of two


def steps(distance: float) -> list[float]:
    """The steps that `distance`, 0 or more, is made of: whole ones of `REACH`, then the rest."""
    whole = max(0, math.ceil(distance / REACH) - 1)
    return [float(REACH)] * whole + [distance - whole * REACH]


def scratch_bytes(width: int, height: int, pixels: float) -> int:
    """Scratch that `shift` needs, in bytes: an alpha when there is more than one step."""
    return width * height if len(steps(abs(pixels))) > 1 else 0


def shift(
    device: Device,
    stream: Stream,
    *,
    alpha: int,
    target: int,
    scratch: int,
    width: int,
    height: int,
    pixels: float,
) -> None:
    """Queues `shift`; `kernels.reference.shift` has the definition.

    Args:
        device: where.
        stream: its queue.
        alpha: device address of (height, width) uint8.
        target: of the result, the same shape; must not be `alpha`.
        scratch: of `scratch_bytes` bytes; not read when that is 0.
        width: columns in pixels.
        height: rows in pixels.
        pixels: how far the edge moves: -100 (shrinks) to 100 (grows).

    Raises:
        ValueError: a size is below 1, or `pixels` is not in -100..100.
    """
    check_sizes(width=width, height=height)
    if not -100 <= pixels <= 100:
        raise ValueError(f"shift is {pixels} pixels; allowed are -100 to 100")
    grid = (blocks(width, _TILE), blocks(height, _TILE), 1)
    ways = steps(abs(pixels))
    source = alpha
    for index, distance in enumerate(ways):
        # The last one has to write the target, so the ones before it take turns backwards.
        to = target if (len(ways) - 1 - index) % 2 == 0 else scratch
        whole = int(distance)
        args = (
            address(source),
            address(to),
            np.int32(width),
            np.int32(height),
            _discs(whole),
            np.int32(whole),
            np.float32(distance - whole),
            np.int32(255 if pixels < 0 else 0),
        )
        device.launch(STEP, grid, (32, 8, 1), args, stream)
        source = to


def _discs(radius: int) -> NDArray[np.void]:
    """Rows of the discs of `radius` and of one more, as shift.cu takes them: shape (1,)."""
    discs = np.zeros(1, _DISCS)
    for index, n in enumerate((radius, min(radius + 1, REACH))):
        for dy in range(n + 1):
            discs["half"][0, 16 * index + dy] = math.isqrt(n**2 + n // 2 - dy**2)
    return discs
