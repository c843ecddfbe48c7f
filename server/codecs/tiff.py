"""TIFF's first directory read by hand: size, pages, and a guard in front of Pillow.

Called by `header`; by `decode` for what only OpenCV reads. The guard: a directory may point all of
its entries at the same bytes, and Pillow reads each entry's bytes into memory of its own. A 1 MB
file of 1000 such entries would take a gigabyte. Values that do not overlap cannot be longer than
the file, so more than that is refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from server.codecs.errors import ImageDamaged

_WIDTH, _HEIGHT, _PHOTOMETRIC, _STRIP_OFFSETS = 256, 257, 262, 273
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS = 322, 323, 324
_MAX_ENTRIES = 4096  # a camera's file has about 60
_MAX_STRIPS = 200_000
_MAX_PAGES = 1000  # counted no further
_LARGEST_TILE_SIDE = 4096  # unless the picture itself is that wide; encoders write 128 to 1024
# Bytes of one value by TIFF's field type.
_TYPE_BYTES = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where classic TIFF and BigTIFF differ."""

    first: int  # where the first directory's offset lies
    offset: struct.Struct
    entries: struct.Struct
    entry: struct.Struct  # tag, type, count; the value follows
    value_bytes: int

    @property
    def entry_bytes(self) -> int:
        """One entry with its value."""
        return self.entry.size + self.value_bytes


def _layout(data: bytes) -> _Layout:
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"\x2b\x00", b"\x00\x2b")
    offset, entries, entry = ("Q", "Q", "HHQ") if is_big else ("I", "H", "HHI")
    return _Layout(
        first=8 if is_big else 4,
        offset=struct.Struct(order + offset),
        entries=struct.Struct(order + entries),
        entry=struct.Struct(order + entry),
        value_bytes=8 if is_big else 4,
    )


def read_tiff(data: bytes) -> tuple[int, int, int]:
    """Width, height and number of pages (counted up to 1000).

    Raises:
        ImageDamaged: no directory, no size, or entries that cannot be true.
    """
    layout = _layout(data)
    try:
        (start,) = layout.offset.unpack_from(data, layout.first)
        tags = _first_directory(data, start, layout)
        pages = _count_pages(data, start, layout)
    except struct.error:
        raise ImageDamaged.because(
            "tiff", f"its directory lies beyond its end at byte {len(data)}"
        ) from None
    width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    for tag, side in ((_TILE_WIDTH, width), (_TILE_HEIGHT, height)):
        if tags.get(tag, 0) > max(side + 16, _LARGEST_TILE_SIDE):
            raise ImageDamaged.because("tiff", f"tiles of {tags[tag]} px in {width}x{height}")
    return width, height, pages


def white_is_zero(data: bytes) -> bool:
    """True when the samples are stored as a negative. `data` has passed `read_tiff`."""
    layout = _layout(data)
    (start,) = layout.offset.unpack_from(data, layout.first)
    return _first_directory(data, start, layout).get(_PHOTOMETRIC) == 0


def _first_directory(data: bytes, start: int, layout: _Layout) -> dict[int, int]:
    """The single numbers among the first directory's tags, after the guard has passed it."""
    (entries,) = layout.entries.unpack_from(data, start)
    if entries > _MAX_ENTRIES:
        raise ImageDamaged.because("tiff", f"{entries} directory entries, up to {_MAX_ENTRIES}")
    tags: dict[int, int] = {}
    total = 0
    order = layout.offset.format[0]
    for index in range(entries):
        at = start + layout.entries.size + index * layout.entry_bytes
        tag, kind, count = layout.entry.unpack_from(data, at)
        total += count * _TYPE_BYTES.get(kind, 0)
        if tag in (_STRIP_OFFSETS, _TILE_OFFSETS) and count > _MAX_STRIPS:
            raise ImageDamaged.because("tiff", f"{count} strips or tiles, up to {_MAX_STRIPS}")
        if count == 1 and kind in (3, 4, 16):
            width = {3: "H", 4: "I", 16: "Q"}[kind]
            (tags[tag],) = struct.unpack_from(order + width, data, at + layout.entry.size)
    if total > len(data):
        raise ImageDamaged.because(
            "tiff", f"its directory claims {total} bytes of values, the file has {len(data)}"
        )
    return tags


def _count_pages(data: bytes, start: int, layout: _Layout) -> int:
    """Length of the chain of directories; a chain that bites its tail ends there."""
    seen: set[int] = set()
    while start and start not in seen and len(seen) < _MAX_PAGES:
        try:
            (entries,) = layout.entries.unpack_from(data, start)
            after = start + layout.entries.size + entries * layout.entry_bytes
            (following,) = layout.offset.unpack_from(data, after)
        except (struct.error, OverflowError):
            break
        seen.add(start)
        start = following
    return max(len(seen), 1)
