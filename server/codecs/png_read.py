"""PNG in: its chunks, checked, and its pixels. Called by `header` and `decode`.

Only four chunk types reach the PNG library (IHDR, PLTE, tRNS and pixel data): text and profile
bombs never get there. The pixel data is inflated here first, bounded by what the header promises,
and handed on as stored blocks: too little data is then seen (Pillow fills the rest with black), and
isal inflates so fast that the whole is quicker.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field

from PIL import PngImagePlugin

from server.codecs import deflate
from server.codecs.errors import ImageDamaged

_MAX_CHUNKS = 50_000  # 8 KiB a chunk is usual: 400 MB of pixel data
_MAX_CHUNK_BYTES = 1 << 30  # the format ends at 2 GiB
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: first column, first row, column step, row step of each pass.
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip


@dataclass(slots=True)
class Chunks:
    """What a PNG's chunks say; the byte strings are empty where a chunk is missing."""

    width: int = 0
    height: int = 0
    bit_depth: int = 0
    color_type: int = 0
    interlaced: bool = False
    frames: int = 1  # of an animated PNG
    header: bytes = b""
    palette: bytes = b""
    transparency: bytes = b""
    exif: bytes = b""
    profile: bytes = b""  # iCCP's payload, still compressed
    physical: bytes = b""  # pHYs' payload
    pixel_data: list[memoryview] = field(default_factory=list)

    @property
    def dpi(self) -> tuple[float, float] | None:
        """Dots per inch from pHYs, None when it gives no unit."""
        if len(self.physical) != 9:
            return None
        across, down, unit = struct.unpack(">IIB", self.physical)
        return (across * 0.0254, down * 0.0254) if unit == 1 and across and down else None

    def icc(self, most: int) -> bytes:
        """The ICC profile, up to `most` + 1 bytes of it; empty when it is missing or broken."""
        _, _, packed = self.profile.partition(b"\x00")
        try:
            return deflate.inflate(packed[1:], most + 1) if packed else b""
        except ValueError:
            return b""

    @property
    def raw_bytes(self) -> int:
        """Bytes that the pixel data must inflate to: all rows of all passes, with filter bytes."""
        bits = self.bit_depth * _CHANNELS[self.color_type]
        if not self.interlaced:
            return self.height * (1 + (self.width * bits + 7) // 8)
        total = 0
        for left, top, across, down in _PASSES:
            columns = (self.width - left + across - 1) // across
            rows = (self.height - top + down - 1) // down
            total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
        return total


def read_chunks(data: bytes, *, header_only: bool = False) -> Chunks:
    """The chunks of a PNG, with lengths and checksums checked; up to the pixel data when
    `header_only`.

    Raises:
        ImageDamaged: cut off, a wrong checksum, or an impossible header.
    """
    found = Chunks()
    view = memoryview(data)
    at = 8
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            raise ImageDamaged.because("png", f"it ends at byte {len(data)}, within its chunks")
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if header_only and kind == b"IDAT":
            break
        if at + 12 + length > len(data):
            name = kind.decode("ascii", "replace") if kind.isalpha() else "?"
            raise ImageDamaged.because(
                "png",
                f"chunk {name} at byte {at} holds {length} bytes, {len(data) - at - 12} are there",
            )
        if at == 8 and kind != b"IHDR":
            raise ImageDamaged.because("png", "its first chunk is not IHDR")
        body = view[at + 8 : at + 8 + length]
        critical = not kind[0] & 0x20 or kind == b"tRNS"
        if critical:
            (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
            if deflate.crc32(view[at + 4 : at + 8 + length]) != checksum:
                name = kind.decode("ascii", "replace")
                raise ImageDamaged.because("png", f"wrong checksum in chunk {name} at byte {at}")
        if kind == b"IEND":
            break
        _take(found, kind, body)
        at += 12 + length
    else:
        raise ImageDamaged.because("png", f"more than {_MAX_CHUNKS} chunks")
    if not found.header:
        raise ImageDamaged.because("png", "it holds no IHDR chunk")
    return found


def _take(found: Chunks, kind: bytes, body: memoryview) -> None:
    """Notes what one chunk says; of two of a kind the first counts."""
    match kind:
        case b"IHDR" if not found.header:
            if len(body) != 13:
                raise ImageDamaged.because("png", f"IHDR holds {len(body)} bytes, not 13")
            found.header = bytes(body)
            found.width, found.height, found.bit_depth, found.color_type, _, _, interlace = (
                struct.unpack(">IIBBBBB", body)
            )
            found.interlaced = interlace != 0
            if found.color_type not in _CHANNELS or found.bit_depth not in (1, 2, 4, 8, 16):
                raise ImageDamaged.because(
                    "png", f"colour type {found.color_type} with {found.bit_depth} bits"
                )
        case b"IDAT":
            found.pixel_data.append(body)
        case b"PLTE":
            found.palette = found.palette or bytes(body)
        case b"tRNS":
            found.transparency = found.transparency or bytes(body)
        case b"eXIf":
            found.exif = found.exif or bytes(body)
        case b"iCCP":
            found.profile = found.profile or bytes(body)
        case b"pHYs":
            found.physical = found.physical or bytes(body)
        case b"acTL" if len(body) == 8:
            (found.frames,) = struct.unpack_from(">I", body)


def open_png(chunks: Chunks) -> PngImagePlugin.PngImageFile:
    """The picture as Pillow opens it, from inflated and checked pixel data; not loaded yet.

    Raises:
        ImageDamaged: the pixel data is broken or less than the header promises.
    """
    if not chunks.pixel_data:
        raise ImageDamaged.because("png", "it holds no pixel data")
    expected = chunks.raw_bytes
    try:
        # One byte more than needed makes the inflater read on to the stream's own checksum.
        rows = deflate.inflate(b"".join(chunks.pixel_data), expected + 1)
    except ValueError as error:
        raise ImageDamaged.because("png", f"its pixel data does not inflate: {error}") from error
    if len(rows) < expected:
        raise ImageDamaged.because(
            "png", f"its pixel data inflates to {len(rows)} bytes, its header promises {expected}"
        )
    stored = memoryview(
        zlib.compress(memoryview(rows)[:expected], 0)
    )  # more is ignored, as libpng does
    del rows  # up to 75 MB at 25 MP
    parts: list[bytes | memoryview] = [b"\x89PNG\r\n\x1a\n", *_chunk(b"IHDR", chunks.header)]
    if chunks.palette:
        parts += _chunk(b"PLTE", chunks.palette)
    if chunks.transparency:
        parts += _chunk(b"tRNS", chunks.transparency)
    for start in range(0, len(stored), _MAX_CHUNK_BYTES):
        parts += _chunk(b"IDAT", stored[start : start + _MAX_CHUNK_BYTES])
    parts += _chunk(b"IEND", b"")
    whole = b"".join(parts)
    del stored, parts
    return PngImagePlugin.PngImageFile(io.BytesIO(whole))


def _chunk(kind: bytes, body: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
    """One chunk in pieces."""
    checksum = deflate.crc32(body, deflate.crc32(kind))
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)
