"""One result to look at: picture, truth, alpha, difference and cut-out side by side.

Called by `server.evaluation.sheets` for the few results that a sheet keeps.
"""

from __future__ import annotations

import cv2
import numpy as np

from server.codecs.decode import decode
from server.codecs.header import Limits
from server.evaluation.cases import F32, U8, Case, alpha_of

TITLES = ("picture", "truth", "alpha", "difference", "on a checkerboard")
TILE_PX = 208  # longer side of each; five fit a laptop's screen
_GAP_PX = 6
_SQUARE_PX = 8
_LIGHT, _DARK = 235, 200


def panel(case: Case, cutout: U8, limits: Limits) -> U8:
    """The five tiles of `TITLES` in a row, (h, 5 * TILE_PX + 4 gaps, 3) uint8 RGB on white.

    The difference is white where alpha is right, red where there is too much of it, blue where
    too little.

    Args:
        case: the picture and its truth.
        cutout: (H, W, 4) uint8, what was made of it.
        limits: as the picture was decoded with.
    """
    decoded = decode(case.source, limits)
    small = _small(cutout)
    truth = _small((case.alpha * 255 + 0.5).astype(np.uint8))
    alpha = small[..., 3]
    tiles = (
        _small(decoded.rgb),
        cv2.cvtColor(truth, cv2.COLOR_GRAY2RGB),
        cv2.cvtColor(np.ascontiguousarray(alpha), cv2.COLOR_GRAY2RGB),
        difference(alpha_of(alpha), alpha_of(truth)),
        on_checkerboard(small),
    )
    height = tiles[0].shape[0]
    strip = np.full((height, row_width(), 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        left = place * (TILE_PX + _GAP_PX)
        strip[:, left : left + tile.shape[1]] = tile
    return strip


def row_width() -> int:
    """Width of a panel in pixels."""
    return tile_left(len(TITLES)) - _GAP_PX


def tile_left(place: int) -> int:
    """Left edge of tile number `place`, in pixels."""
    return place * (TILE_PX + _GAP_PX)


def difference(alpha: F32, truth: F32) -> U8:
    """(H, W, 3) RGB: white where equal, red where `alpha` is more, blue where it is less."""
    more, less = np.clip(alpha - truth, 0, 1), np.clip(truth - alpha, 0, 1)
    shares = np.dstack([1 - less, 1 - more - less, 1 - more])
    return (shares * 255 + 0.5).astype(np.uint8)


def on_checkerboard(cutout: U8) -> U8:
    """The (H, W, 4) cut-out on grey squares, as editors show transparency; (H, W, 3) RGB."""
    rows, columns = np.indices(cutout.shape[:2]) // _SQUARE_PX
    board = np.where((rows + columns) % 2 == 0, _LIGHT, _DARK).astype(np.float32)[..., None]
    alpha = cutout[..., 3:].astype(np.float32) / 255
    return (cutout[..., :3] * alpha + board * (1 - alpha) + 0.5).astype(np.uint8)


def _small(pixels: U8) -> U8:
    """Shrunk, or grown without smoothing, to tiles whose longer side is TILE_PX."""
    height, width = pixels.shape[:2]
    scale = TILE_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        # Colours count by their alpha, or black from under alpha 0 would darken the edge.
        alpha = pixels[..., 3:].astype(np.float32) / 255
        layer = np.dstack([pixels[..., :3] * alpha, alpha]).astype(np.float32)
        layer = _resized(layer, size, scale)
        opaque = np.maximum(layer[..., 3:], 1e-6)
        straight = np.dstack([layer[..., :3] / opaque, layer[..., 3:] * 255])
        return np.clip(straight + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(_resized(pixels, size, scale), np.uint8)


def _resized(pixels: U8 | F32, size: tuple[int, int], scale: float) -> F32:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=how))
