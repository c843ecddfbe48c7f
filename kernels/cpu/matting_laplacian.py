"""The matting Laplacian without its matrix, and the solver that asks for nothing but its product.

Called by `kernels.cpu.matting`; twin of `kernels.reference.matting`, which gives the method. A
product costs eight box filters whatever the window's size (He, Sun, Tang 2010), so a picture needs
some twenty planes of its size and no sparse matrix of 81 numbers a pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


class MattingLaplacian:
    """L of one picture.

    Args:
        guide: (h, w, 3) float32, colours in units where white is 1; best near 0, as 0.5 less.
        radius: of the windows in pixels, at least 1.
        epsilon: added to the windows' variances, at least 1e-6: below, float32 rounds the
            variances of flat windows to less than nothing.

    Attributes:
        diagonal: of L, (h, w).
    """

    def __init__(self, guide: F32, radius: int, epsilon: float) -> None:
        self._side = (2 * radius + 1, 2 * radius + 1)
        self._colours = [np.ascontiguousarray(guide[..., i]) for i in range(3)]
        self._count = self._sum(np.ones(guide.shape[:2], np.float32))
        self._share: F32 = np.float32(1) / self._count
        self._means = [self._mean(plane) for plane in self._colours]
        (rr, rg, rb), (gg, gb), (bb,) = (
            [
                self._mean(self._colours[i] * self._colours[j])
                - self._means[i] * self._means[j]
                + np.float32(epsilon if i == j else 0)
                for j in range(i, 3)
            ]
            for i in range(3)
        )
        # L D L^T of each window's covariance. The cofactors of a 3 x 3 matrix are fewer operations,
        # and lose everything to rounding where a window has one colour in two shades.
        self._lower10, self._lower20 = rg / rr, rb / rr
        second = gg - rg * self._lower10
        rest = gb - rg * self._lower20
        self._lower21 = rest / second
        third = bb - rb * self._lower20 - rest * self._lower21
        self._inverse = [cast(F32, np.float32(1) / own) for own in (rr, second, third)]
        self.diagonal = self._diagonal()

    def __call__(self, alpha: F32) -> F32:
        """L times an alpha, both (h, w)."""
        mean = self._mean(alpha)
        with_alpha = []
        for plane, own_mean in zip(self._colours, self._means, strict=True):
            product = self._mean(plane * alpha)
            product -= own_mean * mean
            with_alpha.append(product)
        slopes = self._solved(*with_alpha)
        for slope, own_mean in zip(slopes, self._means, strict=True):
            mean -= slope * own_mean
        result = self._count * alpha
        result -= self._sum(mean)
        for slope, plane in zip(slopes, self._colours, strict=True):
            spread = self._sum(slope)
            spread *= plane
            result -= spread
        return result

    def _solved(self, red: F32, green: F32, blue: F32) -> tuple[F32, F32, F32]:
        """Each window's covariance, inverted, times a colour; overwrites what it is given."""
        over_red, over_green, over_blue = self._inverse
        green -= self._lower10 * red
        blue -= self._lower20 * red
        blue -= self._lower21 * green
        blue *= over_blue
        green *= over_green
        green -= self._lower21 * blue
        red *= over_red
        red -= self._lower10 * green
        red -= self._lower20 * blue
        return red, green, blue

    def _diagonal(self) -> F32:
        # A window takes (1 + (I - m)^T C^-1 (I - m)) / count off its own pixel's 1.
        columns = []
        for i in range(3):
            unit = [np.full_like(self._count, np.float32(i == j)) for j in range(3)]
            columns.append(self._solved(*unit))
        of_mean = self._solved(*(plane.copy() for plane in self._means))
        constant = np.ones_like(self._count)
        for mean, one in zip(self._means, of_mean, strict=True):
            constant += mean * one
        off = self._sum(constant * self._share)
        for i in range(3):
            off -= 2 * self._colours[i] * self._sum(of_mean[i] * self._share)
            for j in range(3):
                product = self._colours[i] * self._colours[j]
                off += product * self._sum(columns[i][j] * self._share)
        return cast(F32, self._count - off)

    def _sum(self, plane: F32) -> F32:
        summed = cv2.boxFilter(
            plane, -1, self._side, normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        return cast(F32, summed)

    def _mean(self, plane: F32) -> F32:
        summed = self._sum(plane)
        summed *= self._share
        return summed


def go_on() -> None:
    """The look around of those who wait for the end whatever happens."""


def solve(  # noqa: PLR0917
    laplacian: MattingLaplacian,
    weight: F32,
    target: F32,
    start: F32,
    iterations: int,
    check: Callable[[], None] = go_on,
) -> F32:
    """Alpha that makes alpha^T L alpha + sum of weight (alpha - target)^2 small, (h, w), not
    clipped: conjugate gradients, preconditioned by the diagonal.

    Args:
        laplacian: L.
        weight: (h, w), 0 or more, not 0 everywhere.
        target: (h, w).
        start: (h, w), where to begin; it is not changed.
        iterations: at most so many products with L, and one more.
        check: called before each of them; what it raises ends the work.
    """
    scale = 1 / np.maximum(laplacian.diagonal + weight, np.float32(1e-4))
    alpha = start.copy()
    rest = weight * (target - alpha)
    rest -= laplacian(alpha)
    step = scale * rest
    direction = step.copy()
    size = _dot(rest, step)
    for _ in range(iterations):
        check()
        product = laplacian(direction)
        product += weight * direction
        curve = _dot(direction, product)
        if not (size > 1e-9 and curve > 0):  # solved, or as far as float32 goes
            break
        length = np.float32(size / curve)
        alpha += length * direction
        rest -= length * product
        np.multiply(scale, rest, out=step)
        before, size = size, _dot(rest, step)
        direction *= np.float32(size / before)
        direction += step
    return alpha


def _dot(first: F32, second: F32) -> float:
    return float(np.dot(first.ravel(), second.ravel()))
