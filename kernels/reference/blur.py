"""The old background, blurred without the subject bleeding into it.

Twin of `cuda/blur.cu`; its launcher takes the plan of sizes from here. `blur_exactly` is what is
meant, `blur` what is done at a reduced size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.reference.resize import resize
from kernels.reference.rounding import to_u8

MAX_SIGMA = 200.0  # pixels of the source
MAX_RADIUS = 32  # samples to each side, as many as the kernel's table holds
REDUCE_BY = 2.0  # pixels of sigma for each whole factor of reduction
MAX_FIRST, MAX_SECOND = 4, 8  # factors of the two reductions
CELLS = 16  # the grid that fills holes has at most this many columns and rows
KNOWN = 1 / 64  # where less of the neighbourhood is background, the fill makes up for the rest


class Plan(NamedTuple):
    """The sizes, (width, height) each, at which a background is blurred.

    `levels` follow each other by averaging over area; the blur happens at `levels[blurred]`, the
    last one is the grid that fills holes.
    """

    levels: tuple[tuple[int, int], ...]
    blurred: int
    sigma_x: float  # in samples of the blurred level
    sigma_y: float


def plan(width: int, height: int, sigma: float) -> Plan:
    """How a background of width x height pixels is blurred by `sigma` pixels.

    The reduction is by sigma / 2, at least 2: up to 4 as it is, beyond in multiples of 4 up to 32.
    Averaging over s pixels and growing linearly by s blur too, by variances (s^2 - 1) / 12 and
    (s^2 - 1) / 6; the Gaussian makes up what is missing to sigma^2. Below sigma = 0.87 nothing is
    missing any more and the result is that of 0.87.

    Raises:
        ValueError: `sigma` is not above 0 or above 200.
    """
    if not 0 < sigma <= MAX_SIGMA:
        raise ValueError(
            f"background blur is {sigma} pixels; allowed is more than 0, up to {MAX_SIGMA:.0f}"
        )
    whole = max(2, int(sigma / REDUCE_BY))
    first = min(whole, MAX_FIRST)
    second = min(whole // first, MAX_SECOND)
    levels = [_reduced((width, height), first)]
    if second > 1:
        levels.append(_reduced(levels[-1], second))
    blurred = len(levels) - 1
    sigmas = (
        _missing(sigma, full / reduced)
        for full, reduced in zip((width, height), levels[-1], strict=True)
    )
    while max(levels[-1]) > CELLS:
        levels.append(_reduced(levels[-1], MAX_SECOND))
    return Plan(tuple(levels), blurred, *sigmas)


def gaussian(sigma: float, samples: int) -> NDArray[np.float64]:
    """Half of a Gaussian, (radius + 1,): the weight of the centre, then of each next neighbour.

    The radius is 3.5 sigma, where 0.05 % are left outside, and not past the side's other end.

    Args:
        sigma: in samples; 0 gives the centre alone.
        samples: of the side.
    """
    radius = min(math.ceil(3.5 * sigma), samples - 1, MAX_RADIUS)
    if radius == 0:
        return np.ones(1)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    return np.asarray(weights / (2 * weights.sum() - weights[0]))


def blur(
    rgb: NDArray[np.uint8] | NDArray[np.float64], alpha_u8: NDArray[np.uint8], sigma: float
) -> NDArray[np.uint8]:
    """The background blurred, (h, w, 3) uint8 of the plan's size; `kernels.backdrop` lays it behind
    the subject with fit "stretch".

    Normalised convolution (Knutsson and Westin, CVPR 1993): sum of g w I over sum of g w, g the
    Gaussian, w see `trust`; what lies outside the image is as unknown as the subject. Where sum of
    g w stays below 1/64, the rest up to that is taken from a coarse grid: each of its cells is the
    mean of all cells, weighted by their w and by 1 / (1 + d^2)^2 of their distance d in cells
    (Shepard, ACM 1968). Without any background the result is black.

    Args:
        rgb: (H, W, 3), the source, 0..255.
        alpha_u8: (H, W), the subject's.
        sigma: standard deviation in pixels of the source, 0..200.
    """
    height, width = alpha_u8.shape
    sizes = plan(width, height, sigma)
    weight = trust(alpha_u8)
    plane = np.dstack([rgb * weight, weight])
    levels = []
    for size in sizes.levels:
        plane = resize(plane, *size)
        levels.append(plane)
    blurred = levels[sizes.blurred]
    rows = _convolve(blurred, gaussian(sizes.sigma_x, blurred.shape[1]), axis=1)
    summed = _convolve(rows, gaussian(sizes.sigma_y, blurred.shape[0]), axis=0)
    fill = resize(spread(levels[-1]), *sizes.levels[sizes.blurred])
    missing = np.maximum(KNOWN - summed[..., 3:], 0)
    return to_u8((summed[..., :3] + missing * fill) / (summed[..., 3:] + missing))


def trust(alpha_u8: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much a pixel says about the background, (H, W, 1) in [0, 1]: (1 - alpha)^4.

    A pixel of the edge shows both. With 1 - alpha alone its share of the subject is blurred along:
    13 visible levels at a magenta disc on green with an edge of 2 pixels and sigma 4, 3 with the
    fourth power; 18 and 5 with 10 pixels and sigma 12.

    Args:
        alpha_u8: (H, W).
    """
    return np.asarray((1 - alpha_u8[..., None] / 255) ** 4)


def spread(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """A colour for every cell, (h, w, 3), from the cells that have background; see `blur`.

    Args:
        grid: (h, w, 4), colours times w, w.
    """
    height, width = grid.shape[:2]
    y, x = (axis.reshape(-1) for axis in np.indices((height, width)))
    distance2 = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    sums = (1 / (1 + distance2) ** 2) @ grid.reshape(-1, 4)
    share = sums[:, 3:]
    colors = np.divide(sums[:, :3], share, out=np.zeros_like(sums[:, :3]), where=share > 0)
    return np.asarray(colors.reshape(height, width, 3))


def blur_exactly(
    rgb: NDArray[np.uint8], alpha_u8: NDArray[np.uint8], sigma: float
) -> NDArray[np.float64]:
    """What `blur` stands for, (H, W, 3) in 0..255 at full size; NaN where no background is near."""
    weight = trust(alpha_u8)
    plane = np.dstack([rgb * weight, weight])
    for axis in (0, 1):
        offsets = np.arange(plane.shape[axis])
        table = np.exp(-0.5 * ((offsets[:, None] - offsets) / sigma) ** 2)
        plane = np.moveaxis(np.tensordot(table, plane, axes=(1, axis)), 0, axis)
    unknown = np.full(rgb.shape, np.nan)
    colors = np.divide(plane[..., :3], plane[..., 3:], out=unknown, where=plane[..., 3:] > 0)
    return np.asarray(colors, np.float64)


def _reduced(size: tuple[int, int], factor: int) -> tuple[int, int]:
    return -(-size[0] // factor), -(-size[1] // factor)


def _missing(sigma: float, scale: float) -> float:
    return math.sqrt(max(0.0, sigma**2 - (scale**2 - 1) / 4)) / scale


def _convolve(
    plane: NDArray[np.float64], half: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    moved = np.moveaxis(plane, axis, 0)
    result = half[0] * moved
    for offset in range(1, len(half)):
        result[offset:] += half[offset] * moved[:-offset]
        result[:-offset] += half[offset] * moved[offset:]
    return np.moveaxis(result, 0, axis)
