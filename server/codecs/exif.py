"""The two facts of Exif metadata that change a result: which way is up, and the resolution.

Read by hand because the hot path (a camera's JPEG) should not open the file a second time for six
bytes. Called by `decode` with the Exif block of a JPEG, PNG, WebP or AVIF; `resolution_block`
writes one for WebP.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_PER_INCH, _PER_CENTIMETRE = 2, 3
_MAX_ENTRIES = 1000  # a camera writes about 15 in the first directory


@dataclass(frozen=True, slots=True)
class Exif:
    """What was found; the defaults mean "upright" and "no resolution given"."""

    orientation: int = 1  # 1..8 as TIFF's tag 274 has it
    dpi: tuple[float, float] | None = None  # dots per inch across and down, as stored


def read_exif(block: bytes) -> Exif:
    r"""Orientation and resolution of an Exif block, with or without its "Exif\\0\\0" prefix.

    Never raises: a picture with broken metadata is still a picture, shown as it is stored.
    """
    tiff = block.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return Exif()
    found: dict[int, float] = {}
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, start)
        for index in range(min(entries, _MAX_ENTRIES)):
            at = start + 2 + 12 * index
            tag, kind = struct.unpack_from(order + "HH", tiff, at)
            if tag not in (_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT):
                continue
            if kind == _SHORT:
                (found[tag],) = struct.unpack_from(order + "H", tiff, at + 8)
            elif kind == _LONG:
                (found[tag],) = struct.unpack_from(order + "I", tiff, at + 8)
            elif kind == _RATIONAL:
                (place,) = struct.unpack_from(order + "I", tiff, at + 8)
                above, below = struct.unpack_from(order + "II", tiff, place)
                found[tag] = above / below if below else 0.0
    except struct.error:
        pass  # cut off: what was read so far counts
    orientation = int(found.get(_ORIENTATION, 1))
    unit = found.get(_RESOLUTION_UNIT, _PER_INCH)
    across, down = found.get(_X_RESOLUTION, 0.0), found.get(_Y_RESOLUTION, 0.0)
    scale = {_PER_INCH: 1.0, _PER_CENTIMETRE: 2.54}.get(int(unit), 0.0)
    return Exif(
        orientation=orientation if 1 <= orientation <= 8 else 1,
        dpi=(across * scale, down * scale) if across * scale > 0 and down * scale > 0 else None,
    )


def resolution_block(dpi: tuple[float, float]) -> bytes:
    """An Exif block that says nothing but the resolution (dots per inch)."""
    across, down = (round(value * 1000) for value in dpi)
    rationals_at = 8 + 2 + 3 * 12 + 4
    return struct.pack(
        "<2sHIH HHII HHII HHIHH I IIII",
        *(b"II", 42, 8, 3),
        *(_X_RESOLUTION, _RATIONAL, 1, rationals_at),
        *(_Y_RESOLUTION, _RATIONAL, 1, rationals_at + 8),
        *(_RESOLUTION_UNIT, _SHORT, 1, _PER_INCH, 0),
        0,
        *(across, 1000, down, 1000),
    )


def swaps_sides(orientation: int) -> bool:
    """True when the upright picture is as wide as the stored one is high."""
    return orientation >= 5


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """`pixels` (H, W) or (H, W, C) turned and mirrored as the orientation asks, C-contiguous."""
    result: cv2.typing.MatLike
    match orientation:
        case 2:
            result = cv2.flip(pixels, 1)
        case 3:
            result = cv2.rotate(pixels, cv2.ROTATE_180)
        case 4:
            result = cv2.flip(pixels, 0)
        case 5:
            result = cv2.transpose(pixels)
        case 6:
            result = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            result = cv2.flip(cv2.transpose(pixels), -1)
        case 8:
            result = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            result = pixels
    return np.ascontiguousarray(result, np.uint8)
