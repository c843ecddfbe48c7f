"""The one door in: a source becomes upright RGB pixels, its alpha and its metadata beside them.

Called by `server.pipeline` in a worker thread; keeps no state, so any number of threads may be in
it. Each type's own difficulties lie in `jpeg`, `png_read`, `pillow` and `raw`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from server.codecs import pillow
from server.codecs.errors import CodecMissing, ImageDamaged, ImageTooLarge
from server.codecs.exif import Exif, read_exif, swaps_sides, upright
from server.codecs.header import Header, Limits, check_limits, frames_note, read_header
from server.codecs.jpeg import Room, decode_jpeg, read_markers
from server.codecs.png_read import open_png, read_chunks
from server.codecs.raw import raw_to_rgb
from server.codecs.tiff import white_is_zero
from server.job import RawSource, Source

_MAX_ICC_BYTES = 4 << 20  # printers' profiles are 0.5 to 3 MB, cameras' 0.5 to 4 kB
_ICC_HEADER_BYTES = 128
_ORIENTATION_TAG = 274
_X_RESOLUTION_TAG = 282
_MAX_RARE_TIFF_MEGAPIXELS = 16  # four 64-bit samples: 512 MB

# OpenCV reports every odd TIFF on stderr; what a caller sent belongs in the caller's answer.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright picture; `icc` and `dpi` only when asked for and where the source has them."""

    rgb: NDArray[np.uint8]  # (H, W, 3), C-contiguous; may be read-only
    alpha: NDArray[np.uint8] | None  # (H, W), the source's own; None when it is opaque
    format: str  # as `Header.format`
    icc: bytes | None = None  # a profile for RGB, 128 bytes to 4 MiB
    dpi: tuple[float, float] | None = None  # dots per inch across and down
    notes: tuple[str, ...] = ()  # sentences for the report
    full_size: tuple[int, int] | None = None  # columns and rows, where `rgb` was decoded smaller

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the picture, upright."""
        height, width = self.rgb.shape[:2]
        return self.full_size or (width, height)


@dataclass(slots=True)
class _Stored:
    """A picture as its file has it, before it is turned upright."""

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    exif: Exif
    icc: bytes
    dpi: tuple[float, float] | None
    notes: tuple[str, ...]


def decode(
    source: Source,
    limits: Limits,
    *,
    keep_metadata: bool = False,
    room: Room | None = None,
    least: tuple[int, int] | None = None,
) -> Decoded:
    """The first frame of `source`, turned upright, 8 bits a sample.

    Args:
        source: what came.
        limits: checked before any pixel is decoded.
        keep_metadata: read the ICC profile and the resolution too.
        room: asked for the memory that a JPEG is decoded into, at most once, with its bytes as
            RGB; the result lies there when no turning was needed.
        least: columns and rows that are enough for the caller: a JPEG may be decoded smaller, down
            to these, which saves a fifth of its time; None: full size.

    Raises:
        ImageRejected: one of its subclasses, with a sentence for the caller. Nothing else comes out
            of bad bytes.
    """
    if isinstance(source, RawSource):
        # A size of zero passes here and gets its own sentence from `raw`.
        check_limits(Header("raw", source.width, source.height), limits)
        rgb, alpha = raw_to_rgb(source)
        return Decoded(rgb, alpha, "raw")
    header = read_header(source.data)
    check_limits(header, limits)
    match header.format:
        case "jpeg":
            stored = _decode_jpeg(source.data, room, least)
        case "png":
            stored = _decode_png(source.data, keep_metadata=keep_metadata)
        case _:
            stored = _decode_by_pillow(source.data, header, limits)
    turn = stored.exif.orientation
    notes = frames_note(header) + stored.notes
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    if keep_metadata:
        icc, icc_notes = _usable_icc(stored.icc)
        notes += icc_notes
        dpi = stored.dpi or stored.exif.dpi
        if dpi is not None and swaps_sides(turn):
            dpi = (dpi[1], dpi[0])
    rgb = upright(stored.rgb, turn)
    full = (header.height, header.width) if swaps_sides(turn) else (header.width, header.height)
    is_smaller = least is not None and header.format == "jpeg" and rgb.shape[1::-1] != full
    return Decoded(
        rgb=rgb,
        alpha=None if stored.alpha is None else upright(stored.alpha, turn),
        format=header.format,
        icc=icc,
        dpi=dpi,
        notes=notes,
        full_size=full if is_smaller else None,
    )


def _decode_jpeg(data: bytes, room: Room | None, least: tuple[int, int] | None) -> _Stored:
    markers = read_markers(data)
    exif = read_exif(markers.exif)
    if least is not None and swaps_sides(exif.orientation):
        least = least[::-1]
    rgb, notes = decode_jpeg(data, markers, room, least)
    icc = markers.icc
    if markers.components == 4 and icc:
        notes += (pillow.CMYK_NOTE,)
    return _Stored(rgb, None, exif, icc, markers.dpi, notes)


def _decode_png(data: bytes, *, keep_metadata: bool) -> _Stored:
    chunks = read_chunks(data)
    with pillow.fence("png"), open_png(chunks) as image:
        key = image.info.get("transparency")
        if chunks.bit_depth == 16 and isinstance(key, tuple):
            # Pillow keeps the upper 8 bits of 16-bit RGB, but all 16 of the transparent colour.
            image.info["transparency"] = tuple(value >> 8 for value in key)
        rgb, alpha, notes = pillow.to_rgb(image)
    icc = chunks.icc(_MAX_ICC_BYTES) if keep_metadata else b""
    return _Stored(rgb, alpha, read_exif(chunks.exif), icc, chunks.dpi, notes)


def _decode_by_pillow(data: bytes, header: Header, limits: Limits) -> _Stored:
    try:
        with pillow.fence(header.format):
            opened = pillow.open_image(data, header.format)
    except ImageDamaged:
        if header.format != "tiff":
            raise
        return _decode_rare_tiff(data, header)
    with pillow.fence(header.format), opened as image:
        # What Pillow is about to allocate, which need not be what the header said.
        check_limits(Header(header.format, image.width, image.height), limits)
        rgb, alpha, notes = pillow.to_rgb(image)
        exif = read_exif(image.info.get("exif", b""))
        if isinstance(image, TiffImageFile):
            exif = Exif(_tiff_orientation(image.tag_v2.get(_ORIENTATION_TAG)))
        dpi = _usable_dpi(image.info.get("dpi"))
        if isinstance(image, TiffImageFile) and _X_RESOLUTION_TAG not in image.tag_v2:
            dpi = None  # Pillow makes up 1 dpi where the file says none
        return _Stored(rgb, alpha, exif, image.info.get("icc_profile") or b"", dpi, notes)


def _decode_rare_tiff(data: bytes, header: Header) -> _Stored:
    """What Pillow has no mode for (64-bit float, float RGB, ...) by OpenCV, without metadata."""
    if header.megapixels > _MAX_RARE_TIFF_MEGAPIXELS:
        raise ImageTooLarge(
            f"the TIFF is {header.width}x{header.height} and of a rare kind of samples, which is"
            f" read up to {_MAX_RARE_TIFF_MEGAPIXELS} MP: save it as RGB or grey with 8 or 16 bits"
        )
    with pillow.fence("tiff"):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise CodecMissing(
                "the TIFF is damaged or its kind of samples is not read: save it as RGB or grey"
                " with 8 or 16 bits"
            )
        samples, notes = pillow.samples_to_u8(pixels)
        alpha = None
        if samples.ndim == 3 and samples.shape[2] == 2:
            alpha = pillow.opaque_to_none(np.ascontiguousarray(samples[:, :, 1]))
            samples = np.ascontiguousarray(samples[:, :, 0])
        if samples.ndim == 2:
            if pixels.dtype.itemsize > 1 and white_is_zero(data):  # OpenCV turns 8 bits itself
                samples = np.asarray(cv2.bitwise_not(samples), np.uint8)
            rgb = cv2.cvtColor(samples, cv2.COLOR_GRAY2RGB)
        elif samples.shape[2] == 4:
            rgb = cv2.cvtColor(samples, cv2.COLOR_BGRA2RGB)
            alpha = pillow.opaque_to_none(np.ascontiguousarray(samples[:, :, 3]))
        else:
            rgb = cv2.cvtColor(samples, cv2.COLOR_BGR2RGB)
    return _Stored(np.asarray(rgb, np.uint8), alpha, Exif(), b"", None, notes)


def _tiff_orientation(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _usable_dpi(value: object) -> tuple[float, float] | None:
    """Pillow's "dpi" where it is two positive numbers."""
    try:
        across, down = (float(number) for number in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def _usable_icc(icc: bytes) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile if it can stand in an RGB result, else why it was left out."""
    if not icc:
        return None, ()
    if len(icc) > _MAX_ICC_BYTES:
        return None, ("the ICC profile is larger than 4 MiB and was not kept",)
    if len(icc) < _ICC_HEADER_BYTES or icc[36:40] != b"acsp":
        return None, ("the ICC profile is broken and was not kept",)
    space = icc[16:20].decode("ascii", "replace").strip()
    if space != "RGB":
        return None, (
            f"the ICC profile is for {space} colours, the result is RGB: it was not kept",
        )
    return icc, ()
