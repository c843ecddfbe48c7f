"""Pixels out of the PNG files that mattestream writes, with NumPy alone. Called by `Removal.array`.

The SDK installs no image library. The server's writer uses 8-bit samples and row filters whose
inverse is a running sum, so reading them back takes a few lines; other PNG files are refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mattestream.errors import MattestreamError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # PNG colour type -> samples a pixel
_NONE, _SUB, _UP = 0, 1, 2  # row filters


def read_pixels(data: bytes) -> NDArray[np.uint8]:
    """The pixels, (H, W) or (H, W, C) uint8.

    Raises:
        MattestreamError: not a PNG, damaged, or of a kind that mattestream does not write.
    """
    if not data.startswith(_SIGNATURE):
        raise MattestreamError("the data is not a PNG: open it with an image library")
    try:
        return _read(data)
    except (struct.error, zlib.error, ValueError, KeyError) as error:
        raise MattestreamError(
            "the PNG is damaged or of a kind that mattestream does not write: "
            "open .data with an image library"
        ) from error


def _read(data: bytes) -> NDArray[np.uint8]:
    chunks = list(_chunks(data))
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if chunks[0][0] != b"IHDR" or depth != 8 or interlaced:
        raise ValueError
    channels = _CHANNELS[colour]
    row_bytes = 1 + width * channels
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    unpack = zlib.decompressobj()
    flat = unpack.decompress(packed, height * row_bytes + 1)
    if not unpack.eof:
        raise ValueError
    rows = np.frombuffer(flat, np.uint8).reshape(height, row_bytes)
    filters, pixels = rows[:, 0], rows[:, 1:].reshape(height, width, channels)
    image = _unfilter(filters, pixels)
    return image[:, :, 0] if channels == 1 else image


def _unfilter(filters: NDArray[np.uint8], rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows with their filters undone; sums wrap at 256 as PNG wants."""
    if (filters > _UP).any():
        raise ValueError
    image = np.where(
        (filters == _SUB)[:, None, None], np.add.accumulate(rows, axis=1, dtype=np.uint8), rows
    ).astype(np.uint8, copy=False)
    # A row that is not UP starts a new run; within a run each row is the sum of those above.
    starts = np.flatnonzero(filters != _UP)
    edges = [0, *starts[starts > 0].tolist(), len(rows)]
    for top, bottom in pairwise(edges):
        if bottom - top > 1:
            np.add.accumulate(image[top:bottom], axis=0, dtype=np.uint8, out=image[top:bottom])
    return image


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = len(_SIGNATURE)
    while offset < len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        if len(body) != length:
            raise ValueError
        yield kind, body
        offset += 12 + length  # length, kind, body, checksum
        if kind == b"IEND":
            return
    raise ValueError
