"""The old background, blurred at a reduced size, for `kernels.cuda.composite` to lay behind the
subject.

For the device pipeline and the background "blur", which is made on the host so far (docs/gpu.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Grid, Kernel, Stream
from kernels.reference.blur import MAX_RADIUS, Plan, gaussian, plan

REDUCE = Kernel("blur", "blur_reduce")
REDUCE_AGAIN = Kernel("blur", "blur_reduce_again")
SPREAD = Kernel("blur", "blur_spread")
ROWS = Kernel("blur", "blur_rows")
COLUMNS = Kernel("blur", "blur_columns")
KERNELS: tuple[Kernel, ...] = (REDUCE, REDUCE_AGAIN, SPREAD, ROWS, COLUMNS)

HALF = np.dtype([("radius", np.int32), ("weight", np.float32, MAX_RADIUS + 1)])
_BLOCK = (32, 8, 1)
_SAMPLE = 16  # bytes of a float4


def plane_size(width: int, height: int, sigma: float) -> tuple[int, int]:
    """Columns and rows of the blurred plane of a width x height source.

    Raises:
        ValueError: see `blur`.
    """
    sizes = plan(width, height, sigma)
    return sizes.levels[sizes.blurred]


def scratch_bytes(width: int, height: int, sigma: float) -> int:
    """Bytes that one call needs for itself: 8.2 a source pixel where sigma is below 6, the most,
    then less and less.

    Raises:
        ValueError: see `blur`.
    """
    return _offsets(plan(width, height, sigma))[-1]


def blur(
    device: Device,
    stream: Stream,
    *,
    image: NDArray[np.void],
    alpha: int,
    sigma: float,
    scratch: int,
    target: int,
) -> None:
    """Queues the background of an image, blurred without its subject.

    Args:
        device: where.
        stream: in which order.
        image: the source, an `IMAGE` struct.
        alpha: address of the subject's (height, width) uint8, tight.
        sigma: standard deviation in pixels of the source, above 0, up to 200. With 0 there is
            nothing to blur: composite over the source itself.
        scratch: address of `scratch_bytes`, a multiple of 16.
        target: address of (rows, columns, 3) uint8, tight, of `plane_size`.

    Raises:
        ValueError: a side of the image is below 1, or `sigma` out of its range.
    """
    width, height = int(image["width"][0]), int(image["height"][0])
    check_sizes(width=width, height=height)
    sizes = plan(width, height, sigma)
    offsets = [scratch + offset for offset in _offsets(sizes)]
    planes, (rows, cells, _) = offsets[: len(sizes.levels)], offsets[len(sizes.levels) :]

    def run(kernel: Kernel, size: tuple[int, int], *args: np.generic | NDArray[np.void]) -> None:
        device.launch(kernel, _grid(size), _BLOCK, args, stream)

    first = sizes.levels[0]
    run(REDUCE, first, image, address(alpha), address(planes[0]), *_size(first))
    for level in range(1, len(sizes.levels)):
        before, size = sizes.levels[level - 1], sizes.levels[level]
        source, reduced = address(planes[level - 1]), address(planes[level])
        run(REDUCE_AGAIN, size, source, *_size(before), reduced, *_size(size))
    grid, size = sizes.levels[-1], sizes.levels[sizes.blurred]
    args = (address(planes[-1]), address(cells), *_size(grid))
    device.launch(SPREAD, (1, 1, 1), (16, 16, 1), args, stream)
    source, half = address(planes[sizes.blurred]), _half(sizes.sigma_x, size[0])
    run(ROWS, size, source, address(rows), *_size(size), half)
    filled = (address(cells), *_size(grid))
    half = _half(sizes.sigma_y, size[1])
    run(COLUMNS, size, address(rows), *filled, address(target), *_size(size), half)


def _offsets(sizes: Plan) -> list[int]:
    """Where in the scratch each level lies, then the blurred rows, the filled grid, and the end."""
    planes = (*sizes.levels, sizes.levels[sizes.blurred], sizes.levels[-1])
    offsets = [0]
    for width, height in planes:
        offsets.append(offsets[-1] + _SAMPLE * width * height)
    return offsets


def _size(size: tuple[int, int]) -> tuple[np.int32, np.int32]:
    return np.int32(size[0]), np.int32(size[1])


def _grid(size: tuple[int, int]) -> Grid:
    return (blocks(size[0], _BLOCK[0]), blocks(size[1], _BLOCK[1]), 1)


def _half(sigma: float, samples: int) -> NDArray[np.void]:
    weights = gaussian(sigma, samples)
    half = np.zeros(1, HALF)
    half["radius"] = len(weights) - 1
    half["weight"][0, : len(weights)] = weights
    return half
