"""The colour of the screen behind a subject, found in the picture.

Called by `server.key_pipeline` where a caller names none. A screen is what one strong hue fills,
most of all along the picture's border; green and blue are believed more easily than other hues,
which are those of skin, wood and cloth.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rgb = tuple[float, float, float]  # 0..255

LOOKED_AT_PX = 96  # along the longer side; every so many pixels one is looked at
COLOURFUL = 45  # levels between the strongest and the weakest channel
VIVID = 0.35  # the same as a share of the strongest
BORDER = 0.08  # of the shorter side
BORDER_WEIGHT = 3.0
SCREEN_HUES = (125.0, 225.0)  # degrees: green, blue
HUE_REACH = 30.0
OTHER_HUES = 0.5  # weight of all other hues
BIN = 5  # degrees
SAME_HUE = 20.0
LEAST = 0.15  # of the weighted picture that a screen fills
LEAST_OTHER = 0.45  # the same for hues that are no screen's


def screen_color(rgb_u8: U8) -> Rgb | None:
    """The screen's colour, R G B 0..255; None where no strong hue fills enough of the picture.

    Args:
        rgb_u8: (H, W, 3).
    """
    pixels, weight = _looked_at(rgb_u8)
    hue, chroma = _hue_and_chroma(pixels)
    weighted = weight * chroma
    bins = np.bincount((hue / BIN).astype(np.int64) % (360 // BIN), weighted, 360 // BIN)
    reach = int(SAME_HUE / BIN)
    shifts = range(-reach, reach + 1)
    around = sum(np.roll(bins, shift) * (1 - abs(shift) / (reach + 1)) for shift in shifts)
    centres = np.arange(360 // BIN) * BIN + BIN / 2
    green, blue = (_apart(centres, known) <= HUE_REACH for known in SCREEN_HUES)
    is_screens = green | blue
    peak = int(np.argmax(around * np.where(is_screens, 1, OTHER_HUES)))
    same = (_apart(hue, centres[peak]) <= SAME_HUE) & (chroma > 0)
    share = weight[same].sum() / weight.sum()
    if share < (LEAST if is_screens[peak] else LEAST_OTHER):
        return None
    # The screen's own light and shade: what is half of a subject is duller.
    full = same & (chroma >= 0.6 * np.percentile(chroma[same], 80))
    median = np.median(pixels[full], axis=0)
    return float(median[0]), float(median[1]), float(median[2])


def has_color(rgb_u8: U8, color: Rgb) -> bool:
    """True where the picture still shows a screen of this hue, wherever it stands."""
    pixels, weight = _looked_at(rgb_u8)
    hue, chroma = _hue_and_chroma(pixels)
    wanted = _hue_and_chroma(np.asarray([color], np.float32))[0][0]
    same = (_apart(hue, wanted) <= SAME_HUE) & (chroma > 0)
    return bool(weight[same].sum() >= LEAST / 2 * weight.sum())


def is_grey(color: Rgb) -> bool:
    """True for a colour without a hue to key on."""
    return max(color) - min(color) < COLOURFUL


def _looked_at(rgb_u8: U8) -> tuple[F32, F32]:
    """Some of the pixels, (N, 3) float32, and how much each counts, (N,)."""
    step = max(1, math.ceil(max(rgb_u8.shape[:2]) / LOOKED_AT_PX))
    small = rgb_u8[::step, ::step]
    height, width = small.shape[:2]
    rim = max(1, round(BORDER * min(height, width)))
    weight = np.full((height, width), BORDER_WEIGHT, np.float32)
    weight[rim:-rim, rim:-rim] = 1
    return small.reshape(-1, 3).astype(np.float32), weight.reshape(-1)


def _hue_and_chroma(pixels: F32) -> tuple[F32, F32]:
    """Degrees, and levels of colour: 0 for what is too grey to have a hue."""
    hsv = cv2.cvtColor(np.ascontiguousarray(pixels[None] / np.float32(255)), cv2.COLOR_RGB2HSV)[0]
    chroma = pixels.max(axis=1) - pixels.min(axis=1)
    chroma[(chroma < COLOURFUL) | (hsv[:, 1] < VIVID)] = 0
    return hsv[:, 0], chroma


def _apart(hue: NDArray[np.floating], other: float) -> NDArray[np.floating]:
    """Degrees between hues, 0..180."""
    apart: NDArray[np.floating] = np.abs((hue - other + 180) % 360 - 180)
    return apart
