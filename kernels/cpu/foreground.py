"""The subject's own colours: takes the old background out of edge pixels.

Called by `server.finishing`; follows `kernels.reference.foreground`, which gives the method, in 8
bits, with its means taken of a smaller picture: the wide ones, once for the whole of it, at a
quarter of its size, the narrow ones at half, in the boxes alone that hold an edge. Only what a
pixel says itself is read at full size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.tiles import Box, boxes
from kernels.reference.foreground import COARSE_CELLS, FINE_PIXELS

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

CELL = 8  # pixels along the side of the first round's cells
FINE_RADIUS = FINE_PIXELS // 2  # of the second round, at half size
REACH = (COARSE_CELLS + 1) * CELL  # of the first round in pixels: its window and a cell
TILE = 48  # pixels, as are the boxes' corners multiples of
PIXELS_AT_ONCE = 200_000  # a plane of them and its like fit the second cache
APRON = FINE_RADIUS + 1  # pixels at half size: the second round's window, and the bilinear way back
# Networks leave a haze of 1 to 3 levels on half of a photo. A tile in which nothing is further from
# 0 and 255 than this has no edge, and un-mixing could change what is seen by that many levels.
# It takes four fifths of the tiles away.
HARDLY = 8


class _Halved(NamedTuple):
    """A part of a picture at half its size, and what the first round knows of it; each plane with
    an apron around it.
    """

    rgb: U8  # (h, w, 3)
    alpha: U8  # (h, w), 0 in the apron
    subject: U8  # (h, w, 3), wide means of the subject's colours
    behind: U8  # the same of the background's


def foreground(
    rgb_u8: U8, alpha_u8: U8, strength: float = 1.0, *, shown_u8: U8 | None = None
) -> U8:
    """Colours of the subject, (H, W, 3) uint8, changed only where 0 < alpha < 255; the same array
    when there is no edge.

    A level or two from the twin's on average, and unchanged in tiles without an edge, where alpha
    is a haze within 8 levels of 0 or 255: the twin un-mixes that too.

    Args:
        rgb_u8: (H, W, 3).
        alpha_u8: (H, W), as near to the truth as it is known.
        strength: 0 (nothing changes) to 1.
        shown_u8: (H, W), another alpha under which the colours will be shown, feathered or grown:
            what it shows of the background gets the subject's colours too. None: `alpha_u8`.
    """
    shown = alpha_u8 if shown_u8 is None else shown_u8
    # Where the subject is not all there, and something will be seen.
    unsure = cast(U8, cv2.min(cv2.bitwise_not(alpha_u8), shown))
    parts = boxes((unsure > HARDLY).view(np.uint8), TILE) if strength > 0 else []
    if not parts:
        return rgb_u8
    left, right = min(box.left for box in parts), max(box.right for box in parts)
    whole = Box(parts[0].top, parts[-1].bottom, left, right).grown(REACH, *alpha_u8.shape)
    halved = _halved(rgb_u8[whole.view], alpha_u8[whole.view])
    result = rgb_u8.copy()
    for some in _alike(parts):
        own = np.concatenate([rgb_u8[box.view] for box in some], axis=1)
        alpha = np.concatenate([alpha_u8[box.view] for box in some], axis=1)
        means = _means(halved, [box.moved(-whole.top, -whole.left) for box in some])
        colours = _towards(own, alpha, *means)
        if strength < 1:
            cv2.addWeighted(colours, strength, own, 1 - strength, 0, dst=colours)
        for box, start in zip(some, _starts(box.width for box in some), strict=False):
            part = colours[:, start : start + box.width]
            cv2.copyTo(part, unsure[box.view], result[box.view])
    return result


def _alike(parts: list[Box]) -> Iterator[list[Box]]:
    """The boxes in groups of one height, side by side small enough for the cache. An operation on
    a box costs as much for being called as for its pixels: so it is called once for many.
    """
    for height, same in groupby(parts, lambda box: box.height):
        some: list[Box] = []
        columns = 0
        for box in same:
            some.append(box)
            columns += box.width
            if columns * height > PIXELS_AT_ONCE:
                yield some
                some, columns = [], 0
        if some:
            yield some


def _starts(widths: Iterable[int]) -> Iterator[int]:
    """Where each begins that lies beside the others, from 0."""
    return accumulate(widths, initial=0)


def _halved(rgb_u8: U8, alpha_u8: U8) -> _Halved:
    rgb, alpha = (_half(_whole_cells(plane)) for plane in (rgb_u8, alpha_u8))
    # Sums of a quarter of the size: what alpha and colours do within four pixels is lost in windows
    # of 184. Products of two bytes are kept whole, or a haze would have no colour.
    small = cv2.cvtColor(_half(rgb), cv2.COLOR_RGB2RGBA)
    weight = cv2.merge([_half(alpha)] * 4)
    mine = _around(_half(cv2.multiply(small, weight, dtype=cv2.CV_16U)), COARSE_CELLS)
    cells = _half(small)
    both = _around(cells, COARSE_CELLS)
    size = (alpha.shape[1], alpha.shape[0])
    subject, behind = (
        cast(U8, cv2.resize(_ratio(total, cells[..., :3]), size))
        for total in (mine, 255 * both - mine)
    )
    rgb, subject, behind = (_edged(plane, cv2.BORDER_REPLICATE) for plane in (rgb, subject, behind))
    return _Halved(rgb, _edged(alpha, cv2.BORDER_CONSTANT), subject, behind)


def _means(halved: _Halved, some: Sequence[Box]) -> tuple[U8, U8]:
    """The subject's colours and the background's around each pixel, each (h, columns, 3).

    Args:
        halved: the picture.
        some: boxes of pixels in it, of one height.
    """
    # In its own pixels with its apron, a box begins where it does in those without.
    around = [
        Box(
            box.top // 2,
            -(-box.bottom // 2) + 2 * APRON,
            box.left // 2,
            -(-box.right // 2) + 2 * APRON,
        )
        for box in some
    ]
    rgb, alpha, subject, behind = (
        np.concatenate([plane[box.view] for box in around], axis=1) for plane in halved
    )
    first = _towards(rgb, alpha, subject, behind)
    weight = cv2.merge([alpha] * 4)
    product = cv2.multiply(cv2.cvtColor(first, cv2.COLOR_RGB2RGBA), weight, dtype=cv2.CV_16U)
    rows = slice(FINE_RADIUS, -FINE_RADIUS)  # a row more than the boxes', for the way back
    # Without any subject in the fine window, as under a wide feather, the first round stands.
    narrow = _ratio(_around(product, FINE_RADIUS)[rows], first[rows])
    height = some[0].height
    size = (2 * narrow.shape[1], 2 * narrow.shape[0])
    # The twin takes a narrow mean of what lies behind too: of a mean over 184 pixels it is that
    # mean again.
    wide = (cast(U8, cv2.resize(plane, size))[2 : 2 + height] for plane in (narrow, behind[rows]))
    starts = _starts(2 * box.width for box in around)
    own = [
        slice(start + 2 * APRON, start + 2 * APRON + box.width)
        for box, start in zip(some, starts, strict=False)
    ]
    subject, behind = (
        np.concatenate([plane[:, columns] for columns in own], axis=1) for plane in wide
    )
    return subject, behind


def _towards(own: U8, alpha: U8, subject: U8, behind: U8) -> U8:
    """What gives the picture back, subject + a (own - a subject - (1 - a) behind), (h, w, 3)."""
    a = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
    mixed = cv2.multiply(subject, a, scale=1 / 255)
    cv2.add(mixed, cv2.multiply(behind, cv2.bitwise_not(a), scale=1 / 255), dst=mixed)
    # Bytes have no sign: what is more than the mixture is added, what is less taken away.
    more, less = cv2.subtract(own, mixed), cv2.subtract(mixed, own)
    cv2.multiply(more, a, dst=more, scale=1 / 255)
    cv2.multiply(less, a, dst=less, scale=1 / 255)
    cv2.add(more, subject, dst=more)
    return cast(U8, cv2.subtract(more, less, dst=more))


def _ratio(total: F32, otherwise: U8) -> U8:
    """Colours of sums of weight x (red, green, blue, 255), (h, w, 3); `otherwise` where nothing
    has weight.
    """
    red, green, blue, weights = cv2.split(total)
    shares = np.float32(255) / np.maximum(weights, np.float32(1))
    means = cv2.merge(
        [cv2.multiply(plane, shares, dtype=cv2.CV_8U) for plane in (red, green, blue)]
    )
    if cv2.minMaxLoc(weights)[0] < 1:
        cv2.copyTo(otherwise, (weights < 1).view(np.uint8), means)
    return cast(U8, means)


def _around(plane: NDArray[Any], radius: int) -> F32:
    """Sums over windows, cut at the plane's edges."""
    side = (2 * radius + 1, 2 * radius + 1)
    summed = cv2.boxFilter(plane, cv2.CV_32F, side, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return cast(F32, summed)


def _whole_cells(pixels_u8: U8) -> U8:
    """The picture with its last pixels repeated to whole cells."""
    height, width = pixels_u8.shape[:2]
    right, below = -width % CELL, -height % CELL
    if not (right or below):
        return pixels_u8
    return cast(U8, cv2.copyMakeBorder(pixels_u8, 0, below, 0, right, cv2.BORDER_REPLICATE))


def _edged(plane: U8, border: int) -> U8:
    return cast(U8, cv2.copyMakeBorder(plane, APRON, APRON, APRON, APRON, border))


def _half(pixels: NDArray[Any]) -> U8:
    """Means of 2 x 2 pixels."""
    size = (pixels.shape[1] // 2, pixels.shape[0] // 2)
    return cast(U8, cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
