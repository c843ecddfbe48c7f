"""Type, size and frames of an image file without a pixel decoded; and the limits on them.

Called by the services before a job is admitted and by `decode` before it allocates. A 67-byte PNG
may claim a gigapixel: what is believed here is checked against the limits before any pixel library
sees the file.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from server.codecs import pillow
from server.codecs.errors import NAMES, ImageDamaged, ImageTooLarge
from server.codecs.jpeg import read_markers
from server.codecs.png_read import read_chunks
from server.codecs.sniff import image_format
from server.codecs.tiff import read_tiff

_MAX_STEPS = 50_000  # blocks of a GIF or WebP looked at for counting frames: about 5 ms


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself."""

    format: str  # "jpeg", "png", "webp", "avif", "tiff", "bmp", "gif"; "raw" for raw pixels
    width: int  # px as stored, before Exif orientation
    height: int
    frames: int = 1  # frames of an animation or pages; a lower bound in files of over 50,000 blocks

    @property
    def megapixels(self) -> float:
        """Millions of pixels of one frame."""
        return self.width * self.height / 1e6


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that is taken; named as the server's flags are."""

    max_megapixels: float  # millions of pixels
    max_side_px: int


def read_header(data: bytes) -> Header:
    """Type, size and frames of the file `data`, found from its bytes alone.

    Raises:
        NotAnImage: empty, or of no type that is read.
        ImageDamaged: cut off within the header, or without pixels.
        CodecMissing: the type's library is not in this build.
    """
    kind = image_format(data)
    try:
        width, height, frames = _READERS[kind](data)
    except (struct.error, IndexError):
        raise ImageDamaged.because(
            kind, f"it ends within its header, at byte {len(data)}"
        ) from None
    if width < 1 or height < 1:
        raise ImageDamaged.because(kind, f"its header gives a size of {width}x{height}")
    return Header(kind, width, height, max(frames, 1))


def check_limits(header: Header, limits: Limits) -> None:
    """Nothing when the image is small enough.

    Raises:
        ImageTooLarge: with both sizes, both limits and the flags that raise them.
    """
    flags = []
    if header.megapixels > limits.max_megapixels:
        flags.append(f"--max-megapixels {math.ceil(header.megapixels)}")
    longest = max(header.width, header.height)
    if longest > limits.max_side_px:
        flags.append(f"--max-side-px {longest}")
    if not flags:
        return
    shown = math.ceil(header.megapixels * 10) / 10  # rounded up: never looks like the limit itself
    raise ImageTooLarge(
        f"image is {header.width}x{header.height} ({shown:.1f} MP), this server takes up to"
        f" {limits.max_megapixels:g} MP and {limits.max_side_px} px a side:"
        f" resize it, or start the server with {' '.join(flags)}"
    )


def frames_note(header: Header) -> tuple[str, ...]:
    """A sentence for the report when there is more than one frame; else nothing."""
    if header.frames == 1:
        return ()
    unit = "pages" if header.format == "tiff" else "frames"
    return (f"the {NAMES[header.format]} has {header.frames} {unit}, only the first was used",)


def _jpeg(data: bytes) -> tuple[int, int, int]:
    markers = read_markers(data)
    return markers.width, markers.height, 1


def _png(data: bytes) -> tuple[int, int, int]:
    chunks = read_chunks(data, header_only=True)
    return chunks.width, chunks.height, chunks.frames


def _bmp(data: bytes) -> tuple[int, int, int]:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:  # OS/2
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height), 1  # a negative height only says that the top row comes first


def _gif(data: bytes) -> tuple[int, int, int]:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _gif_palette_bytes(flags)
    frames = 0
    in_blocks = False  # within the sub-blocks of an image or an extension
    for _ in range(_MAX_STEPS):
        if at >= len(data):
            break
        if in_blocks:
            in_blocks = data[at] != 0
            at += 1 + data[at]
        elif data[at] == 0x2C and at + 10 < len(data):  # an image
            frames += 1
            at += 11 + _gif_palette_bytes(data[at + 9])
            in_blocks = True
        elif data[at] == 0x21:  # an extension
            at += 2
            in_blocks = True
        else:
            break
    return width, height, frames


def _gif_palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> tuple[int, int, int]:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF, 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1
    if kind != b"VP8X":
        raise ImageDamaged.because("webp", "its first chunk is of no known kind")
    flags, width, height = data[20], data[24:27], data[27:30]
    if len(height) < 3:
        raise IndexError
    animated = bool(flags & 0x02)
    return (
        int.from_bytes(width, "little") + 1,
        int.from_bytes(height, "little") + 1,
        _webp_frames(data) if animated else 1,
    )


def _webp_frames(data: bytes) -> int:
    at, frames = 12, 0
    for _ in range(_MAX_STEPS):
        if at + 8 > len(data):
            break
        frames += data[at : at + 4] == b"ANMF"
        (length,) = struct.unpack_from("<I", data, at + 4)
        at += 8 + length + (length & 1)
    return frames


_READERS = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "avif": pillow.read_avif,
    "tiff": read_tiff,
    "bmp": _bmp,
    "gif": _gif,
}
