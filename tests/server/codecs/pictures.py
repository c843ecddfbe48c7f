"""Pictures made of arithmetic, and files of every type made of them, for the codec tests."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.codecs.header import Limits

LIMITS = Limits(max_megapixels=25, max_side_px=16384)


def photo(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours without symmetry, (H, W, 3): every turn and mirror of it looks different."""
    seeds = np.random.default_rng(seed).integers(20, 236, (4, 5, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(seeds, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def disc(width: int, height: int) -> NDArray[np.uint8]:
    """A soft-edged subject's alpha, (H, W)."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot((columns - width / 2) / width, (rows - height / 2) / height)
    return np.clip((0.35 - distance) * 2000, 0, 255).astype(np.uint8)


def saved(pixels: NDArray[Any] | Image.Image, kind: str, **settings: Any) -> bytes:
    """The file that Pillow writes."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(
    width: int,
    height: int,
    rows: bytes,
    *,
    color_type: int = 2,
    depth: int = 8,
    before: bytes = b"",
    after: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """A PNG put together by hand: `rows` with filter bytes, `before` and `after` the pixel data."""
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlaced)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            before,
            chunk(b"IDAT", zlib.compress(rows)),
            after,
            chunk(b"IEND", b""),
        ]
    )


def tiff_of(tags: list[tuple[int, int, int, int]], tail: bytes = b"", order: str = "<") -> bytes:
    """A TIFF of one directory of (tag, type, count, value or offset), followed by `tail`."""
    body = struct.pack(order + "H", len(tags))
    for tag, kind, count, value in sorted(tags):
        packed = struct.pack(order + ("HH" if kind == 3 else "I"), value, *([0] * (kind == 3)))
        body += struct.pack(order + "HHI", tag, kind, count) + packed
    head = {"<": b"II*\x00", ">": b"MM\x00*"}[order] + struct.pack(order + "I", 8)
    return head + body + struct.pack(order + "I", 0) + tail


def grey_tiff(samples: NDArray[Any], sample_format: int, order: str, photometric: int) -> bytes:
    """An uncompressed TIFF of one sample a pixel, (H, W) of any type, in either byte order."""
    height, width = samples.shape
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, samples.dtype.itemsize * 8)]
    tags += [(259, 3, 1, 1), (262, 3, 1, photometric), (277, 3, 1, 1), (278, 3, 1, height)]
    tags += [(279, 4, 1, samples.nbytes), (339, 3, 1, sample_format)]
    data_at = 8 + 2 + 12 * (len(tags) + 1) + 4
    body = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    return tiff_of([*tags, (273, 4, 1, data_at)], body, order)


def float_tiff(samples: NDArray[Any]) -> bytes:
    """An uncompressed TIFF of float samples, (H, W) or (H, W, C), 32 or 64 bits."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    bits = samples.dtype.itemsize * 8
    tags_count = 11
    data_at = 8 + 2 + 12 * tags_count + 4
    extra = struct.pack(f"<{channels}H", *[bits] * channels) + struct.pack(
        f"<{channels}H", *[3] * channels
    )
    depth = (258, 3, 1, bits) if channels == 1 else (258, 3, channels, data_at)
    kind = (339, 3, 1, 3) if channels == 1 else (339, 3, channels, data_at + 2 * channels)
    pixels_at = data_at + len(extra)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        depth,
        (259, 3, 1, 1),
        (262, 3, 1, 1 if channels == 1 else 2),
        (273, 4, 1, pixels_at),
        (274, 3, 1, 1),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, samples.nbytes),
        kind,
    ]
    body = struct.pack("<H", len(tags))
    for tag, field, count, value in tags:
        inline = field == 3 and count == 1
        body += struct.pack("<HHI", tag, field, count)
        body += struct.pack("<HH", value, 0) if inline else struct.pack("<I", value)
    return b"II*\x00" + struct.pack("<I", 8) + body + b"\0\0\0\0" + extra + samples.tobytes()


def exif_block(orientation: int, *, order: str = "<", dpi: int | None = None) -> bytes:
    """An Exif block as a camera writes it, after its "Exif" prefix."""
    tags = [(0x0112, 3, 1, orientation)]
    tail = b""
    if dpi is not None:
        tags += [(0x011A, 5, 1, 8 + 2 + 12 * 4 + 4), (0x011B, 5, 1, 8 + 2 + 12 * 4 + 4)]
        tags += [(0x0128, 3, 1, 2)]
        tail = struct.pack(order + "II", dpi, 1)
    return tiff_of(tags, tail, order)


def icc_profile(space: bytes = b"RGB ", size: int = 500) -> bytes:
    """Bytes with the header of an ICC profile; no one looks further."""
    header = bytearray(size)
    header[0:4] = struct.pack(">I", size)
    header[16:20] = space
    header[36:40] = b"acsp"
    header[128:] = bytes(index * 7 % 251 for index in range(size - 128))
    return bytes(header)
