"""The part of an image that a frame shows: cut, widened, resized, or cut to a circle.

Called by `server.looks`; `kernels.framing` says which part.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.resize import resize
from kernels.framing import Box, Frame
from kernels.reference import SUBJECT_LEVEL

U8 = NDArray[np.uint8]

VISIBLE_LEVEL = 26  # 8-bit alpha, 0.1: what a viewer sees of a soft edge
EDGE_SHARE = 0.05  # of the subject's longer side: how far outside its box hair still counts


def visible_box(alpha_u8: U8) -> Box | None:
    """The box around what can be seen of the subject, in pixels; None where nothing reaches 0.5.

    That is alpha of 0.1 and more, as far as 5 % of the subject's longer side outside the box of
    alpha 0.5: hair belongs to the subject, a faint patch far away does not.

    Args:
        alpha_u8: (H, W).
    """
    inner = _box(alpha_u8, SUBJECT_LEVEL)
    if inner is None:
        return None
    left, top, right, bottom = inner
    reach = round(EDGE_SHARE * max(right - left, bottom - top)) + 1
    x, y = max(0, left - reach), max(0, top - reach)
    near = _box(alpha_u8[y : bottom + reach, x : right + reach], VISIBLE_LEVEL)
    assert near is not None  # it holds the inner box
    return near[0] + x, near[1] + y, near[2] + x, near[3] + y


def middle_of(alpha_u8: U8) -> tuple[float, float] | None:
    """Column and row of the subject's centre of mass, in pixels; None where there is nothing.

    Args:
        alpha_u8: (H, W).
    """
    moments = cv2.moments(alpha_u8)
    mass = moments["m00"]
    return (moments["m10"] / mass + 0.5, moments["m01"] / mass + 0.5) if mass else None


def crop_alpha(alpha_u8: U8, frame: Frame) -> U8:
    """The alpha in the frame, (rows, columns) uint8; 0 beyond the source."""
    at = _place(alpha_u8, frame)
    result = np.zeros((frame.rows, frame.columns), np.uint8)
    if at is not None:
        result[at.target] = resize(alpha_u8[at.source], at.columns, at.rows)
    return result


def crop_subject(rgb_u8: U8, alpha_u8: U8, frame: Frame) -> tuple[U8, U8]:
    """The subject in the frame: colours (rows, columns, 3) and alpha (rows, columns), both uint8.

    Colours are averaged weighted by alpha, so that shrinking mixes no old background into them;
    where alpha is 0 they are the source's. Beyond the source both are 0.

    Args:
        rgb_u8: (H, W, 3).
        alpha_u8: (H, W).
        frame: what is shown.
    """
    alpha = crop_alpha(alpha_u8, frame)
    result = np.zeros((frame.rows, frame.columns, 3), np.uint8)
    at = _place(alpha_u8, frame)
    if at is None:
        return result, alpha
    rgb = rgb_u8[at.source]
    if (at.rows, at.columns) == rgb.shape[:2]:
        result[at.target] = rgb
        return result, alpha
    plain = resize(rgb, at.columns, at.rows)
    weight = cv2.cvtColor(alpha_u8[at.source], cv2.COLOR_GRAY2RGB)
    weighted = resize(cast(U8, cv2.multiply(rgb, weight, scale=1 / 255)), at.columns, at.rows)
    inside = np.ascontiguousarray(alpha[at.target])
    divided = cv2.divide(weighted, cv2.cvtColor(inside, cv2.COLOR_GRAY2RGB), scale=255)
    cv2.copyTo(divided, inside, plain)
    result[at.target] = plain
    return result, alpha


def crop_background(rgb_u8: U8, frame: Frame) -> U8:
    """A background in the frame, (rows, columns, 3) uint8; beyond the source its outermost pixels
    go on.

    Args:
        rgb_u8: (H, W, 3).
        frame: what is shown; it must share a pixel with the source.
    """
    at = _place(rgb_u8, frame)
    if at is None:
        raise ValueError(f"the frame {frame} lies outside the source {rgb_u8.shape[:2]}")
    part = resize(rgb_u8[at.source], at.columns, at.rows)
    rows, columns = at.target
    return cast(
        U8,
        cv2.copyMakeBorder(
            part,
            rows.start,
            frame.rows - rows.stop,
            columns.start,
            frame.columns - columns.stop,
            cv2.BORDER_REPLICATE,
        ),
    )


def circle(columns: int, rows: int) -> U8:
    """The alpha of the largest circle in the middle, (rows, columns) uint8, its rim anti-aliased.

    A pixel is covered by as much as its centre lies inside the rim, plus a half: a rim one pixel
    wide.
    """
    x = np.arange(columns, dtype=np.float32) - np.float32((columns - 1) / 2)
    y = np.arange(rows, dtype=np.float32) - np.float32((rows - 1) / 2)
    distance = np.sqrt(x[None, :] ** 2 + y[:, None] ** 2)
    covered = np.clip(min(columns, rows) / 2 + 0.5 - distance, 0, 1)
    return np.rint(255 * covered).astype(np.uint8)


class _Placed(NamedTuple):
    source: tuple[slice, slice]  # rows and columns of the source that are in the frame
    target: tuple[slice, slice]  # where they lie in the result
    columns: int  # of the target
    rows: int


def _place(pixels_u8: U8, frame: Frame) -> _Placed | None:
    """What the frame and the source share; None: nothing.

    Only that is resized: a small subject on a wide canvas must not fill memory with emptiness. Its
    edges in the result are rounded to whole pixels.
    """
    rows = _along(frame.top, frame.height, frame.rows, pixels_u8.shape[0])
    columns = _along(frame.left, frame.width, frame.columns, pixels_u8.shape[1])
    if rows is None or columns is None:
        return None
    target = rows[1], columns[1]
    return _Placed(
        (rows[0], columns[0]),
        target,
        target[1].stop - target[1].start,
        target[0].stop - target[0].start,
    )


def _along(start: int, length: int, samples: int, side: int) -> tuple[slice, slice] | None:
    """One axis of `_place`: the source's samples, and where they lie in the result's."""
    first, last = max(0, start), min(side, start + length)
    if last <= first:
        return None
    low = (2 * (first - start) * samples + length) // (2 * length)
    high = (2 * (last - start) * samples + length) // (2 * length)
    low = min(low, samples - 1)
    return slice(first, last), slice(low, max(high, low + 1))


def _box(alpha_u8: U8, level: int) -> Box | None:
    _, seen = cv2.threshold(alpha_u8, level - 1, 255, cv2.THRESH_BINARY)
    left, top, width, height = cv2.boundingRect(seen)
    return (left, top, left + width, top + height) if width else None
