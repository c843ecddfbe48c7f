"""The subject over a picture, or over anything that has an alpha of its own.

Called by `server.looks`; twin of `kernels.reference.composite_over`. Over one colour
`kernels.cpu.composite` is faster and says the same.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.backdrop import Backdrop
from kernels.cpu.resize import resize

U8 = NDArray[np.uint8]
Color = tuple[int, int, int, int]

BAND_BYTES = 256 * 1024  # of RGB per band: two bands and their scratch stay in a core's own cache
# A backdrop that is this many times the canvas is mostly cut away again: a strip of 10 x 10,000
# pixels that covers a 12 MP canvas would fill 48 GB.
CUT_FROM = 4


def composite_over(
    foreground_u8: U8,
    alpha_u8: U8,
    color: Color,
    background_u8: U8,
    backdrop: Backdrop,
) -> U8:
    """The subject over a picture: (H, W, 3) uint8 where `color` is opaque, else (H, W, 4) with
    straight alpha, red, green and blue 0 where that alpha is 0.

    Args:
        foreground_u8: (H, W, 3), the subject's colours.
        alpha_u8: (H, W).
        color: red, green, blue and alpha, 0..255 each: behind the picture, where that is
            translucent or does not reach.
        background_u8: (h, w, 3), or (h, w, 4) with straight alpha; any size.
        backdrop: where it lies behind the subject; see `kernels.backdrop`.
    """
    height, width = alpha_u8.shape
    behind, opacity = canvas(width, height, color, background_u8, backdrop)
    return over(foreground_u8, alpha_u8, behind, opacity)


def over(foreground_u8: U8, alpha_u8: U8, behind_u8: U8, opacity_u8: U8 | None = None) -> U8:
    """The subject over what lies behind: (H, W, 3) uint8 without an `opacity_u8`, else (H, W, 4).

    Args:
        foreground_u8: (H, W, 3), the subject's colours.
        alpha_u8: (H, W).
        behind_u8: (H, W, 3).
        opacity_u8: (H, W), alpha of what lies behind; None: opaque.
    """
    height, width = alpha_u8.shape
    result = np.empty((height, width, 3 if opacity_u8 is None else 4), np.uint8)
    rows = max(1, BAND_BYTES // (3 * width))
    for top in range(0, height, rows):
        band = slice(top, top + rows)
        rgb, alpha, behind = foreground_u8[band], alpha_u8[band], behind_u8[band]
        if opacity_u8 is None:
            _mix(rgb, alpha, behind, result[band])
            continue
        total = join(alpha, opacity_u8[band])
        # The subject's share of the mix; where nothing is, OpenCV divides to 0.
        mixed = _mix(rgb, cast(U8, cv2.divide(alpha, total, scale=255)), behind)
        cv2.cvtColor(cv2.copyTo(mixed, total), cv2.COLOR_RGB2RGBA, dst=result[band])
        cv2.insertChannel(total, result[band], 3)
    return result


def join(first_u8: U8, second_u8: U8) -> U8:
    """The alpha of two layers together, (H, W): a + b (1 - a)."""
    left = cv2.multiply(cv2.bitwise_not(first_u8), cv2.bitwise_not(second_u8), scale=1 / 255)
    return cast(U8, cv2.bitwise_not(left))


def canvas(
    width: int, height: int, color: Color, background_u8: U8, backdrop: Backdrop
) -> tuple[U8, U8 | None]:
    """What lies behind the subject: (height, width, 3) colours, and their (height, width) alpha;
    None when that is opaque everywhere.

    The picture is resized with its colours multiplied by its alpha, so that what is transparent in
    it colours nothing.

    Args:
        width: columns of the canvas.
        height: rows of the canvas.
        color: behind the picture.
        background_u8: (h, w, 3), or (h, w, 4) with straight alpha.
        backdrop: where it lies.
    """
    at, (top, bottom), (left, right) = _reached(backdrop, width, height)
    if background_u8.shape[2] == 4:
        alpha = np.ascontiguousarray(background_u8[..., 3])
        weight = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
        rgb = cv2.cvtColor(background_u8, cv2.COLOR_RGBA2RGB)
        laid_alpha = _lay(alpha, at, right - left, bottom - top)
        laid = _lay(cast(U8, cv2.multiply(rgb, weight, scale=1 / 255)), at, *_wh(laid_alpha))
    else:
        laid = _lay(background_u8, at, right - left, bottom - top)
        laid_alpha = None
        if color[3] == 255 and laid.shape[:2] == (height, width):
            return laid, None
    colors = np.full((height, width, 3), color[:3], np.uint8)
    opacity = np.full((height, width), color[3], np.uint8)
    inside = np.s_[top:bottom, left:right]
    if laid_alpha is None:
        colors[inside], opacity[inside] = laid, 255
    else:
        total = join(laid_alpha, opacity[inside])
        # Premultiplied picture plus what shows through it of the colour; straight again after.
        through = cv2.subtract(total, laid_alpha)
        under = cv2.multiply(
            colors[inside], cv2.cvtColor(through, cv2.COLOR_GRAY2RGB), scale=1 / 255
        )
        summed = cv2.add(laid, under)
        colors[inside] = cv2.divide(summed, cv2.cvtColor(total, cv2.COLOR_GRAY2RGB), scale=255)
        opacity[inside] = total
    return colors, None if color[3] == 255 else opacity


def _reached(
    backdrop: Backdrop, width: int, height: int
) -> tuple[Backdrop, tuple[int, int], tuple[int, int]]:
    """The rows and columns of the canvas that the backdrop reaches, and the backdrop as seen from
    their corner.
    """
    if backdrop.repeat:
        return backdrop, (0, height), (0, width)
    top, left = max(0, backdrop.top), max(0, backdrop.left)
    bottom = min(height, backdrop.top + backdrop.height)
    right = min(width, backdrop.left + backdrop.width)
    seen = backdrop._replace(left=backdrop.left - left, top=backdrop.top - top)
    return seen, (top, bottom), (left, right)


def _lay(pixels_u8: U8, at: Backdrop, width: int, height: int) -> U8:
    """The part of the picture, resized as `at` says, that fills `height` x `width` pixels."""
    if at.repeat:
        # Turned until its corner lies at the canvas' corner, then repeated one axis at a time.
        turned = np.roll(pixels_u8, (at.top, at.left), axis=(0, 1))
        across = -(-width // at.width), -(-height // at.height)
        more = (1,) * (pixels_u8.ndim - 2)
        wide = np.tile(turned, (1, across[0], *more))[:, :width]
        return np.ascontiguousarray(np.tile(wide, (across[1], 1, *more))[:height])
    if at.width * at.height > CUT_FROM * width * height and at.height > pixels_u8.shape[0]:
        return _magnified(pixels_u8, at, width, height)
    laid = resize(pixels_u8, at.width, at.height)
    return np.ascontiguousarray(laid[-at.top : height - at.top, -at.left : width - at.left])


def _magnified(pixels_u8: U8, at: Backdrop, width: int, height: int) -> U8:
    """As `_lay`, making only the pixels that stay; OpenCV places them to 1/32 of a source pixel."""
    steps, shifts, parts = [], [], []
    for samples, size, start, length in (
        (pixels_u8.shape[1], at.width, -at.left, width),
        (pixels_u8.shape[0], at.height, -at.top, height),
    ):
        step = samples / size
        first = max(0, int(start * step) - 1)
        parts.append(slice(first, min(samples, int((start + length) * step) + 2)))
        steps.append(step)
        shifts.append((start + 0.5) * step - 0.5 - first)
    matrix = np.array([[steps[0], 0, shifts[0]], [0, steps[1], shifts[1]]])
    warped = cv2.warpAffine(
        pixels_u8[parts[1], parts[0]],
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cast(U8, warped)


def _wh(plane: U8) -> tuple[int, int]:
    return plane.shape[1], plane.shape[0]


def _mix(rgb_u8: U8, share_u8: U8, behind_u8: U8, target_u8: U8 | None = None) -> U8:
    weight = cv2.cvtColor(share_u8, cv2.COLOR_GRAY2RGB)
    front = cv2.multiply(rgb_u8, weight, scale=1 / 255)
    back = cv2.multiply(behind_u8, cv2.bitwise_not(weight), scale=1 / 255)
    return cast(U8, cv2.add(front, back, dst=target_u8))
