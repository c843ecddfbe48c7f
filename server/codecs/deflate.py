"""zlib streams by the fastest library at hand: isal (SIMD), else the standard library's zlib.

Used by `png` (IDAT), `png_read` (inflating) and `encode` (zlib results). isal has wheels for x86-64
and arm64 only. isal level 1 takes 9 ms for a 1080p cutout's PNG, zlib with its run-length strategy
37 ms, zlib's own level 1 more than 80 ms: run lengths are nearly all that the UP filter leaves to
find.
"""

from __future__ import annotations

import zlib
from types import ModuleType
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

_isal: ModuleType | None
try:
    from isal import isal_zlib as _isal
except ImportError:
    _isal = None

Buffer = bytes | bytearray | memoryview | NDArray[np.uint8]


class Compressor(Protocol):
    """A zlib stream being written."""

    def compress(self, data: Buffer, /) -> bytes:
        """The bytes that are ready."""

    def flush(self) -> bytes:
        """The last bytes."""


def library() -> str:
    """Name of the library in use: "isal" or "zlib"."""
    return "isal" if _isal is not None else "zlib"


def compressor() -> Compressor:
    """A new zlib stream (RFC 1950), made for speed."""
    if _isal is not None:
        stream: Compressor = _isal.compressobj(1)
        return stream
    return cast(Compressor, zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE))


def compress(data: Buffer) -> bytes:
    """`data` as one zlib stream."""
    stream = compressor()
    return stream.compress(data) + stream.flush()


def inflate(data: Buffer, most: int) -> bytes:
    """What the zlib stream in `data` holds, but no more than its first `most` bytes.

    Raises:
        ValueError: the stream is broken.
    """
    module = zlib if _isal is None else _isal
    try:
        result: bytes = module.decompressobj().decompress(data, most)
    except module.error as error:
        raise ValueError(str(error)) from error
    return result


def crc32(data: Buffer, start: int = 0) -> int:
    """CRC-32 of `data`, continuing from `start`."""
    module = zlib if _isal is None else _isal
    result: int = module.crc32(data, start)
    return result
