"""The old background, blurred without the subject bleeding into it.

Called by `server.looks`; twin of `kernels.reference.blur`, which says what is meant and plans the
sizes.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.resize import resize
from kernels.reference.blur import KNOWN, gaussian, plan, spread, trust

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

BAND_ROWS = 32  # of the first reduced level: the float bands between the steps stay in the cache


def blur_background(rgb_u8: U8, alpha_u8: U8, sigma_px: float) -> U8:
    """The background blurred, (H, W, 3) uint8 at the source's size; black without any background.

    Args:
        rgb_u8: (H, W, 3), the source.
        alpha_u8: (H, W), the subject's.
        sigma_px: standard deviation in pixels of the source, above 0, up to 200.

    Raises:
        ValueError: `sigma_px` is out of range.
    """
    height, width = alpha_u8.shape
    return resize(blur(rgb_u8, alpha_u8, sigma_px), width, height)


def blur(rgb_u8: U8, alpha_u8: U8, sigma_px: float) -> U8:
    """The same, (h, w, 3) uint8 of the plan's size; see `kernels.reference.blur.blur`."""
    sizes = plan(alpha_u8.shape[1], alpha_u8.shape[0], sigma_px)
    colors, weight = _first_level(rgb_u8, alpha_u8, *sizes.levels[0])
    plane = cast(F32, cv2.merge([*cv2.split(colors), weight]))
    levels = [plane]
    for size in sizes.levels[1:]:
        plane = cast(F32, cv2.resize(plane, size, interpolation=cv2.INTER_AREA))
        levels.append(plane)
    blurred = levels[sizes.blurred]
    columns, rows = sizes.levels[sizes.blurred]
    summed = cv2.sepFilter2D(
        blurred,
        -1,
        _whole(gaussian(sizes.sigma_x, columns)),
        _whole(gaussian(sizes.sigma_y, rows)),
        borderType=cv2.BORDER_CONSTANT,
    )
    grid = spread(levels[-1].astype(np.float64)).astype(np.float32)
    fill = cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_LINEAR)
    *parts, known = cv2.split(summed)
    missing = np.maximum(KNOWN - known, 0)
    scale = 1 / (known + missing)
    filled = [
        cv2.convertScaleAbs((part + missing * fill[..., i]) * scale) for i, part in enumerate(parts)
    ]
    return cast(U8, cv2.merge(filled))


def _first_level(rgb_u8: U8, alpha_u8: U8, columns: int, rows: int) -> tuple[F32, F32]:
    """Colours times trust, and trust, averaged over area: (rows, columns, 3), (rows, columns)."""
    height = alpha_u8.shape[0]
    table = trust(np.arange(256, dtype=np.uint8)[:, None])[:, 0, 0].astype(np.float32)
    colors, weights = (
        np.empty((rows, columns, 3), np.float32),
        np.empty((rows, columns), np.float32),
    )
    # Bands whose ends fall on whole rows of both sizes exist only where the height divides; else
    # the whole is one band.
    step = rows if height % rows else min(rows, BAND_ROWS)
    factor = height // rows if step < rows else 0
    for top in range(0, rows, step):
        bottom = min(rows, top + step)
        part = slice(top * factor, bottom * factor) if factor else slice(0, height)
        weight = cv2.LUT(alpha_u8[part], table)
        weighted = cv2.multiply(
            rgb_u8[part], cv2.cvtColor(weight, cv2.COLOR_GRAY2RGB), dtype=cv2.CV_32F
        )
        size = (columns, bottom - top)
        colors[top:bottom] = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA)
        weights[top:bottom] = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    return colors, weights


def _whole(half: NDArray[np.float64]) -> F32:
    return np.concatenate([half[:0:-1], half]).astype(np.float32)
