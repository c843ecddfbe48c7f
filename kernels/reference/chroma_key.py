"""Keys a picture on the colour of its screen: alpha and the subject's own colours at full size.

Twin of `kernels.cpu.chroma_key`. Method: a clean plate of the screen, measured cell by cell, so
that light may be uneven; then, pixel by pixel, how much of that screen is in it. The first measure
of that is the distance in the hue plane (van den Bergh, Lalioti, "Software Chroma Keying in an
Immersive Virtual Environment", 1999); it takes a coloured subject for more solid than it is, so it
is held down by the share between the plate and the subject's mean colour nearby. With the screen's
colour and the share known, the subject's colour follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.reference.rounding import to_u8

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
Rgb = tuple[float, float, float]  # 0..255

CELL = 8  # pixels along the side of the plates' cells
WEDGE = 0.577  # of the hue plane, 1 / tan 60 degrees: where the screen's is not the leading colour
LUMA = 0.2  # weight of brightness against hue: it tells little where light is uneven
SCREEN_RADII = (3, 12)  # cells; the nearest that know anything decide
SUBJECT_RADII = (1, 4, 12)
FADE = 0.02  # weight of each further radius
LIKELY = (0.4, 0.35)  # of the key's strength, and of its hue: may be screen
SURE_SCREEN = 0.85  # of the plate's strength
PURE = (75, 0.6)  # percentile of the purity of what may be screen, and the share of it that must be
SURE_SUBJECT = 0.25
FAINT = 0.1  # below this alpha a pixel's own colour says less and less
LEAST = 1e-6  # a weight that is none


class Plates(NamedTuple):
    """What the screen and the subject look like around each cell, (h, w, 3) each, R G B 0..255."""

    screen: F64
    subject: F64  # with the screen's light on it; a neutral colour where none is near


def axes(key: Rgb) -> F64:
    """Three rows that turn R, G, B into: strength of the key's hue, hue to either side, brightness
    (weighted with `LUMA`).
    """
    color = np.asarray(key, np.float64)
    along = color - color.mean()
    along /= np.linalg.norm(along)
    grey = np.full(3, 3**-0.5)
    return np.stack([along, np.cross(grey, along), LUMA * grey])


def strength(strength_hue: F64) -> F64:
    """How much of the key's hue is in colours given on the key's axes, (..., 3); 0 and less: it
    does not lead.
    """
    found: F64 = strength_hue[..., 0] - WEDGE * np.abs(strength_hue[..., 1])
    return found


def chroma_key(
    rgb_u8: U8,
    key: Rgb,
    *,
    tolerance: float = 0.12,
    softness: float = 0.7,
    despill: float = 1.0,
) -> tuple[U8, U8]:
    """Alpha, (H, W), and the subject's colours, (H, W, 3), at the picture's size.

    Args:
        rgb_u8: (H, W, 3).
        key: the screen's colour, R G B 0..255; not grey.
        tolerance: 0..1, share of subject in a pixel up to which it is all screen.
        softness: 0..1, width of the edge from there on to where it is all subject, as a share; what
            is left at most.
        despill: 0..1, how much of the screen's light is taken off the subject.
    """
    height, width = rgb_u8.shape[:2]
    at = axes(key)
    cells = plates(rgb_u8, key)
    screen, subject = (spread(plate, height, width) for plate in cells)
    own = rgb_u8.astype(np.float64)
    share = share_of_subject(own, screen, subject, at)
    alpha = np.clip((share - tolerance) / width_of_edge(tolerance, softness), 0, 1)
    colours = own_colours(own, alpha, screen, subject, at, despill=despill)
    return to_u8(255 * alpha), to_u8(colours)


def width_of_edge(tolerance: float, softness: float) -> float:
    """The share of subject, above `tolerance`, over which alpha goes from 0 to 1.

    What holds nothing of the screen stays opaque, however soft the edge is asked for.
    """
    return max(min(softness, 1 - tolerance), 1 / 255)


def plates(rgb_u8: U8, key: Rgb) -> Plates:
    """The clean plate and the subject's mean colours, a cell each `CELL` x `CELL` pixels."""
    at = axes(key)
    cells = means(rgb_u8)
    hue = cells @ at.T
    key_strength = (np.asarray(key) @ at.T)[0]
    is_key = np.abs(hue[..., 1]) < LIKELY[1] * hue[..., 0]
    likely = is_key & (hue[..., 0] > LIKELY[0] * key_strength)
    found = strength(hue)
    first = near(cells, likely, SCREEN_RADII, np.asarray(key))
    # A shadow darkens the screen; glass and smoke before it make it paler, and are subject.
    purity = found / np.maximum(cells.mean(axis=-1), 1)
    pure = PURE[1] * np.percentile(purity[likely], PURE[0]) if likely.any() else 0.0
    sure = is_key & (purity > pure) & (found > SURE_SCREEN * strength(first @ at.T))
    screen = near(cells, sure, SCREEN_RADII, np.asarray(key))
    level = strength(screen @ at.T)
    neutral = screen - level[..., None] * at[0]
    subject = near(cells, found < SURE_SUBJECT * level, SUBJECT_RADII, neutral)
    return Plates(screen, subject)


def means(rgb_u8: U8) -> F64:
    """Means of the cells, (h, w, 3); the picture is made up to whole cells with its last row and
    column.
    """
    height, width = rgb_u8.shape[:2]
    whole = np.pad(rgb_u8, ((0, -height % CELL), (0, -width % CELL), (0, 0)), mode="edge")
    rows, columns = whole.shape[0] // CELL, whole.shape[1] // CELL
    cells: F64 = whole.reshape(rows, CELL, columns, CELL, 3).mean(axis=(1, 3))
    return cells


def near(cells: F64, known: NDArray[np.bool_], radii: Sequence[int], otherwise: F64) -> F64:
    """Means of the known cells around each, the nearer windows first; `otherwise` far from all."""
    total = np.zeros(cells.shape)
    weight = np.zeros(cells.shape[:2])
    for step, radius in enumerate(radii):
        rows, columns = (_window(side, radius) for side in cells.shape[:2])
        inside = np.outer(rows.sum(axis=1), columns.sum(axis=1)) / FADE**step
        total += (
            np.einsum("yi,xj,ijc->yxc", rows, columns, cells * known[..., None])
            / (inside[..., None])
        )
        weight += rows @ known @ columns.T / inside
    some = weight[..., None] > LEAST
    return np.where(some, total / np.maximum(weight, LEAST)[..., None], otherwise)


def spread(plate: F64, height: int, width: int) -> F64:
    """A plate at the picture's size, bilinear between the cells' centres."""
    sides = []
    for cells, pixels in zip(plate.shape[:2], (height, width), strict=True):
        centre = np.clip((np.arange(pixels) + 0.5) / CELL - 0.5, 0, cells - 1)
        sides.append(np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(cells))))
    wide: F64 = np.einsum("yi,xj,ijc->yxc", *sides, plate, optimize=True)
    return wide


def share_of_subject(own: F64, screen: F64, subject: F64, at: F64) -> F64:
    """How much of each pixel is subject, (H, W); about 0..1."""
    of_screen = screen @ at.T
    of_own = own @ at.T
    by_hue = 1 - strength(of_own) / np.maximum(strength(of_screen), 1)
    line = subject @ at.T - of_screen
    along = ((of_own - of_screen) * line).sum(axis=-1) / np.maximum((line**2).sum(axis=-1), 1)
    return np.where(by_hue >= 1, 1.0, np.minimum(by_hue, along))


def own_colours(own: F64, alpha: F64, screen: F64, subject: F64, at: F64, *, despill: float) -> F64:
    """The subject's colours: what is left when the screen is taken out of each pixel, less its
    light on the subject. In faint pixels the nearby subject's colour takes over.
    """
    a = alpha[..., None]
    gain = a / np.maximum(a, FAINT) ** 2
    colours = subject + (own - (1 - a) * screen - a * subject) * gain
    level = np.maximum(strength(screen @ at.T), 1)
    light = despill * np.maximum(strength(colours @ at.T), 0) / level
    cleaned: F64 = np.clip(colours - light[..., None] * screen, 0, 255)
    return cleaned


def _window(cells: int, radius: int) -> F64:
    """1 where two cells are at most `radius` apart."""
    index = np.arange(cells)
    near: F64 = (np.abs(index[:, None] - index) <= radius).astype(np.float64)
    return near
