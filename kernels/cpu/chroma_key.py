"""Keys a picture on the colour of its screen: alpha and the subject's own colours at full size.

Called by `server.key_pipeline` for the `chroma-key` model; twin of `kernels.reference.chroma_key`,
which gives the method. What is plainly screen or plainly subject is told apart on whole numbers;
the rest happens in the tiles alone that hold an edge, the screen's light, or noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.tiles import Box, boxes
from kernels.reference.chroma_key import (
    CELL,
    FADE,
    FAINT,
    LEAST,
    LIKELY,
    PURE,
    SCREEN_RADII,
    SUBJECT_RADII,
    SURE_SCREEN,
    SURE_SUBJECT,
    WEDGE,
    Rgb,
    axes,
    width_of_edge,
)

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

TILE_CELLS = 6
# Two levels of the key's hue: less than anybody sees, and above the rounding to whole numbers. A
# tile that holds no more is left as it is.
HARDLY = 2


class Grids(NamedTuple):
    """What is known around each cell, (h, w, 3) float32."""

    screen: F32  # R G B
    subject: F32


def chroma_key(
    rgb_u8: U8,
    key: Rgb,
    *,
    tolerance: float = 0.12,
    softness: float = 0.7,
    despill: float = 1.0,
) -> tuple[U8, U8]:
    """Alpha, (H, W), and the subject's colours, (H, W, 3), at the picture's size.

    Within 3 levels of the twin's in 99 of 100 pixels: a cell that lies on a threshold may count
    here and not there, which moves the plates around it. Where alpha is 0, colours are the
    picture's.

    Args:
        rgb_u8: (H, W, 3).
        key: the screen's colour, R G B 0..255; not grey.
        tolerance: 0..1, share of subject in a pixel up to which it is all screen.
        softness: 0..1, width of the edge from there on to where it is all subject, as a share; what
            is left at most.
        despill: 0..1, how much of the screen's light is taken off the subject.
    """
    at = axes(key).astype(np.float32)
    grids = _plates(rgb_u8, key, at)
    height, width = rgb_u8.shape[:2]
    hue = _hue_u8(rgb_u8, at)
    level = np.maximum(_strength(cv2.transform(grids.screen, at)), 1)
    whole_wh = (level.shape[1] * CELL, level.shape[0] * CELL)
    least = cv2.resize(level * np.float32(1 - tolerance) + np.float32(HARDLY), whole_wh)
    is_screen = cv2.compare(hue.astype(np.float32), least[:height, :width], cv2.CMP_GT)
    alpha = cast(U8, cv2.compare(hue, np.full_like(hue, HARDLY), cv2.CMP_LE))
    mixed = cv2.bitwise_not(cv2.bitwise_or(alpha, is_screen))
    colours = rgb_u8.copy()
    padded = [cv2.copyMakeBorder(grid, 1, 1, 1, 1, cv2.BORDER_REPLICATE) for grid in grids]
    side = TILE_CELLS * CELL
    for box in boxes(cast(U8, mixed), side):
        screen, subject = (_spread(cast(F32, grid), box) for grid in padded)
        own = rgb_u8[box.view].astype(np.float32)
        share = _share(own, screen, subject, at)
        share -= np.float32(tolerance)
        share *= np.float32(1 / width_of_edge(tolerance, softness))
        a = np.clip(share, 0, 1, out=share)
        alpha[box.view] = cv2.convertScaleAbs(a, alpha=255)
        colours[box.view] = _own_colours(own, a, screen, subject, at, despill=despill)
    return alpha, colours


def _hue_u8(rgb_u8: U8, at: F32) -> U8:
    """The key's strength in each pixel, 0..255 in whole numbers."""
    # Three rows, though two are needed: OpenCV has fast code for 3 x 3 alone (0.4 ms against 17).
    rows = np.zeros((3, 4), np.float32)
    rows[0, :3], rows[1] = at[0], (*(WEDGE * at[1]), 128)
    along, aside, _ = cv2.split(cv2.transform(rgb_u8, rows))
    return cast(U8, cv2.subtract(along, cv2.absdiff(aside, np.full_like(aside, 128))))


def _plates(rgb_u8: U8, key: Rgb, at: F32) -> Grids:
    height, width = rgb_u8.shape[:2]
    right, below = -width % CELL, -height % CELL
    whole = rgb_u8
    if right or below:
        whole = cast(U8, cv2.copyMakeBorder(rgb_u8, 0, below, 0, right, cv2.BORDER_REPLICATE))
    size = (whole.shape[1] // CELL, whole.shape[0] // CELL)
    cells = cast(F32, cv2.resize(whole, size, interpolation=cv2.INTER_AREA).astype(np.float32))
    hue = cast(F32, cv2.transform(cells, at))
    color = np.asarray(key, np.float32)
    key_strength = float((at @ color)[0])
    is_key = np.abs(hue[..., 1]) < LIKELY[1] * hue[..., 0]
    likely = is_key & (hue[..., 0] > LIKELY[0] * key_strength)
    found = _strength(hue)
    everywhere = np.broadcast_to(color, cells.shape)
    first = _near(cells, likely, SCREEN_RADII, everywhere)
    purity = found / np.maximum(cells.mean(axis=2), np.float32(1))
    pure = PURE[1] * np.percentile(purity[likely], PURE[0]) if likely.any() else 0.0
    sure = is_key & (purity > pure) & (found > SURE_SCREEN * _strength(cv2.transform(first, at)))
    screen = _near(cells, sure, SCREEN_RADII, everywhere)
    level = _strength(cv2.transform(screen, at))
    neutral = screen - level[..., None] * at[0]
    return Grids(screen, _near(cells, found < SURE_SUBJECT * level, SUBJECT_RADII, neutral))


def _near(cells: F32, known: NDArray[np.bool_], radii: Sequence[int], otherwise: F32) -> F32:
    """Means of the known cells around each, the nearer windows first; `otherwise` far from all."""
    weight = known.astype(np.float32)
    four = cv2.merge((*cv2.split(cells * weight[..., None]), weight))
    ones = np.ones(weight.shape, np.float32)
    total = np.zeros(four.shape, np.float32)
    for step, radius in enumerate(radii):
        inside = _sums(ones, radius) * np.float32(1 / FADE**step)
        total += _sums(cast(F32, four), radius) / inside[..., None]
    share = np.maximum(total[..., 3:], np.float32(LEAST))
    return np.where(total[..., 3:] > LEAST, total[..., :3] / share, otherwise)


def _sums(plane: F32, radius: int) -> F32:
    side = (2 * radius + 1, 2 * radius + 1)
    summed = cv2.boxFilter(plane, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return cast(F32, summed)


def _spread(padded: F32, box: Box) -> F32:
    """A grid, one cell larger on every side, at the box's pixels: bilinear between the centres of
    cells.
    """
    top, left = box.top // CELL, box.left // CELL
    bottom, right = -(-box.bottom // CELL) + 2, -(-box.right // CELL) + 2
    cells = padded[top:bottom, left:right]
    pixels = cv2.resize(cells, (cells.shape[1] * CELL, cells.shape[0] * CELL))
    height, width = box.size_hw
    return cast(F32, pixels[CELL : CELL + height, CELL : CELL + width])


def _strength(hue: NDArray[np.floating] | cv2.typing.MatLike) -> F32:
    """How much of the key's hue is in colours on the key's axes, (..., 3)."""
    return cast(F32, hue[..., 0] - np.float32(WEDGE) * np.abs(hue[..., 1]))


def _share(own: F32, screen: F32, subject: F32, at: F32) -> F32:
    """How much of each pixel is subject; about 0..1."""
    of_screen, of_own = cv2.transform(screen, at), cv2.transform(own, at)
    by_hue = 1 - _strength(of_own) / np.maximum(_strength(of_screen), 1)
    line = cv2.subtract(cv2.transform(subject, at), of_screen)
    along = _dot(cv2.subtract(of_own, of_screen), line)
    along /= np.maximum(_dot(line, line), 1)
    share = np.minimum(by_hue, along, out=along)
    np.copyto(share, 1, where=by_hue >= 1)
    return share


def _dot(first: cv2.typing.MatLike, second: cv2.typing.MatLike) -> F32:
    product = cv2.multiply(first, second)
    ones = np.ones((3, 3), np.float32)  # one row would do, see `_hue_u8`
    return cast(F32, cv2.transform(product, ones)[..., 0])


def _own_colours(own: F32, a: F32, screen: F32, subject: F32, at: F32, *, despill: float) -> U8:
    """The subject's colours in a box, (h, w, 3)."""
    three = cv2.cvtColor(a, cv2.COLOR_GRAY2RGB)
    gain = cv2.cvtColor(a / np.square(np.maximum(a, np.float32(FAINT))), cv2.COLOR_GRAY2RGB)
    # subject + (own - (1 - a) screen - a subject) gain
    mixed = cv2.add(screen, cv2.multiply(three, cv2.subtract(subject, screen)))
    colours = cv2.add(subject, cv2.multiply(cv2.subtract(own, mixed), gain))
    if despill:
        level = np.maximum(_strength(cv2.transform(screen, at)), 1)
        light = np.maximum(_strength(cv2.transform(colours, at)), 0) * np.float32(despill) / level
        lit = cv2.multiply(cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), screen)
        colours = cv2.subtract(colours, lit)
    # Negative colours are none; convertScaleAbs would turn them round.
    return cast(U8, cv2.convertScaleAbs(np.maximum(colours, 0)))
