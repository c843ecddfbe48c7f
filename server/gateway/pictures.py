"""How large a picture is, from its file's header, as the callers see it: upright.

`server.gateway`'s APIs weigh pictures with it, and turn lengths in per cent into pixels.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass

from PIL import Image

from server.codecs.exif import swaps_sides
from server.codecs.header import Header, read_header

ON_LOOP_BYTES = 1 << 20  # as in `server.remover`: a hostile header takes its time
_ORIENTATION_TAG = 274


@dataclass(frozen=True, slots=True)
class Size:
    """Columns and rows, px, once the picture is turned upright."""

    width: int
    height: int

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.width * self.height / 1e6


async def size_of(data: bytes) -> Size:
    """The size of the picture in `data`.

    Raises:
        ImageRejected: it is none.
    """
    if len(data) <= ON_LOOP_BYTES:
        return _size(data)
    return await asyncio.to_thread(_size, data)


def _size(data: bytes) -> Size:
    header = read_header(data)
    if _lies_on_its_side(data, header):
        return Size(header.height, header.width)
    return Size(header.width, header.height)


def _lies_on_its_side(data: bytes, header: Header) -> bool:
    if header.format not in {"jpeg", "png", "webp", "tiff"} or b"Exif" not in data[:65536]:
        return False
    try:
        # Opens the header only. What is wrong with the rest is the decoder's to say.
        with Image.open(io.BytesIO(data)) as picture:
            return swaps_sides(int(picture.getexif().get(_ORIENTATION_TAG, 1)))
    except Exception:  # a hostile file; the sides stay as stored
        return False
