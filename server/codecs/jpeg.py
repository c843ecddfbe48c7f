"""JPEG in: its markers without its pixels, then its pixels by libjpeg-turbo.

Called by `header` and `decode`. The hot path of the whole server: two walks over a dozen markers
(4 us each) and one call to simplejpeg.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin

from server.codecs.errors import CodecMissing, ImageDamaged

# SOF0 baseline, SOF1 extended, SOF2 progressive; SOF9 and SOF10 the same with arithmetic coding.
_READABLE_PROCESSES = frozenset((0, 1, 2, 9, 10))
_PROGRESSIVE = frozenset((2, 10))
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # not DHT, JPG, DAC
_MAX_SEGMENTS = 5000  # before the first scan; a picture with a 4 MiB ICC profile has about 80
_MAX_FILL_BYTES = 4096  # the standard allows any number, encoders write none to a few
_MAX_SCANS = 64  # cameras and encoders write up to 20; each one costs a pass over all the pixels
_END = b"\xff\xd9"

Room = Callable[[int], NDArray[np.uint8]]  # bytes wanted -> (bytes,) uint8, writable


@dataclass(slots=True)
class Markers:
    """What a JPEG says about itself before its first scan."""

    width: int = 0
    height: int = 0
    components: int = 0
    precision: int = 8
    process: int = 0  # n of SOFn
    adobe: bool = False  # an APP14 marker: CMYK is stored inverted
    exif: bytes = b""
    dpi: tuple[float, float] | None = None  # JFIF density
    icc_parts: dict[int, bytes] = field(default_factory=dict)

    @property
    def icc(self) -> bytes:
        """The ICC profile, empty when there is none."""
        return b"".join(self.icc_parts[number] for number in sorted(self.icc_parts))


def read_markers(data: bytes) -> Markers:
    """Size, kind and metadata of a JPEG; nothing after the first start of scan is looked at.

    Raises:
        ImageDamaged: cut off before the first scan, or not a chain of markers.
    """
    found = Markers()
    at = 2
    try:
        for _ in range(_MAX_SEGMENTS):
            at = _past_fill_bytes(data, at)
            if data[at] != 0xFF:
                raise ImageDamaged.because("jpeg", f"no marker at byte {at}")
            marker = data[at + 1]
            if marker in (0xDA, 0xD9):
                break
            if marker == 0x01 or 0xD0 <= marker <= 0xD7:
                at += 2
                continue
            (length,) = struct.unpack_from(">H", data, at + 2)
            if length < 2 or at + 2 + length > len(data):
                raise ImageDamaged.because(
                    "jpeg", f"it ends within its header, at byte {len(data)}"
                )
            _take(found, marker, data, at + 4, at + 2 + length)
            at += 2 + length
        else:
            raise ImageDamaged.because("jpeg", f"more than {_MAX_SEGMENTS} segments, no picture")
    except (IndexError, struct.error):
        raise ImageDamaged.because(
            "jpeg", f"it ends within its header, at byte {len(data)}"
        ) from None
    if not found.components:
        raise ImageDamaged.because("jpeg", "no frame header before the picture data")
    return found


def _past_fill_bytes(data: bytes, at: int) -> int:
    """Where the marker's own 0xFF stands: the last one of a run."""
    run = data[at : at + _MAX_FILL_BYTES]
    fill = len(run) - len(run.lstrip(b"\xff"))
    if fill == _MAX_FILL_BYTES:
        raise ImageDamaged.because("jpeg", f"{fill} fill bytes in a row at byte {at}")
    return at + max(fill - 1, 0)


def _take(found: Markers, marker: int, data: bytes, start: int, end: int) -> None:
    """Notes what the segment `data[start:end]` says, if it is one that matters."""
    if marker in _FRAME_MARKERS and not found.components:
        found.process = marker - 0xC0
        found.precision, found.height, found.width, found.components = struct.unpack_from(
            ">BHHB", data, start
        )
    elif marker == 0xE0 and data[start : start + 5] == b"JFIF\x00":
        unit, across, down = struct.unpack_from(">BHH", data, start + 7)
        scale = {1: 1.0, 2: 2.54}.get(unit, 0.0)
        if scale and across and down:
            found.dpi = (across * scale, down * scale)
    elif marker == 0xE1 and data[start : start + 6] == b"Exif\x00\x00" and not found.exif:
        found.exif = data[start:end]
    elif marker == 0xE2 and data[start : start + 12] == b"ICC_PROFILE\x00":
        found.icc_parts.setdefault(data[start + 12], data[start + 14 : end])
    elif marker == 0xEE and data[start : start + 5] == b"Adobe":
        found.adobe = True


def decode_jpeg(
    data: bytes,
    markers: Markers,
    room: Room | None = None,
    least: tuple[int, int] | None = None,
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """RGB pixels (H, W, 3) uint8 as stored (orientation not applied), and notes for the caller.

    Args:
        data: the whole file.
        markers: what `read_markers` found in it.
        room: memory for the pixels; None: they get their own. Not asked for CMYK.
        least: columns and rows that are enough, as stored: the picture may come out smaller, down
            to these; None: it does not.

    Raises:
        ImageDamaged: cut off or broken; libjpeg would fill the rest with grey, which no caller
            wants served.
        CodecMissing: 12-bit, lossless or hierarchical JPEG.
    """
    if markers.process not in _READABLE_PROCESSES or markers.precision != 8:
        kind = f"{markers.precision}-bit" if markers.precision != 8 else "lossless or hierarchical"
        raise CodecMissing(
            f"the JPEG is a {kind} one, only 8-bit baseline and progressive are read: save it anew"
        )
    if markers.components not in (1, 3, 4):
        raise CodecMissing(
            f"the JPEG has {markers.components} components, 1, 3 or 4 are read: save it as RGB"
        )
    if markers.process in _PROGRESSIVE and (scans := data.count(b"\xff\xda")) > _MAX_SCANS:
        raise ImageDamaged.because("jpeg", f"{scans} scans, up to {_MAX_SCANS} are read")
    import simplejpeg  # raw frames need no codec: a machine without it still runs those

    colorspace = "CMYK" if markers.components == 4 else "RGB"
    notes: tuple[str, ...] = ()
    buffer = None
    if room is not None and markers.components != 4:
        buffer = room(3 * markers.width * markers.height)
    columns, rows = (0, 0) if least is None else _halved(markers, least)
    try:
        pixels = simplejpeg.decode_jpeg(
            data, colorspace, strict=True, buffer=buffer, min_width=columns, min_height=rows
        )
    except ValueError as error:
        pixels, notes = _decode_again(data, markers, colorspace, str(error))
    if markers.components == 4:
        return _cmyk_to_rgb(pixels, inverted=markers.adobe), notes
    return pixels, notes


def _halved(markers: Markers, least: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows at half, a quarter or an eighth of the size, not below `least`: the scales
    that libjpeg-turbo has fast code for.
    """
    columns, rows = markers.width, markers.height
    for part in (8, 4, 2):
        smaller = -(-columns // part), -(-rows // part)
        if smaller[0] >= least[0] and smaller[1] >= least[1]:
            return smaller
    return columns, rows


def _decode_again(
    data: bytes, markers: Markers, colorspace: str, reason: str
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Pixels after one of the three complaints that a whole picture may hide behind."""
    import simplejpeg

    try:
        if "Premature end" in reason and markers.process not in _PROGRESSIVE:
            # Some cameras leave out the end marker. With one added, a picture that lacks data still
            # fails: strict. A progressive one would pass without its last scans, so it does not get
            # this chance.
            pixels = simplejpeg.decode_jpeg(data + _END, colorspace, strict=True)
            return pixels, ("the JPEG has no end marker; its picture is complete",)
        if (skipped := re.search(r"(\d+) extraneous bytes before marker 0xd9", reason)) is not None:
            end = data.rfind(_END)
            padding = data[max(end - int(skipped[1]), 0) : end]
            if len(set(padding)) == 1:  # filled up with one value, not the remains of a broken scan
                return simplejpeg.decode_jpeg(data, colorspace, strict=False), ()
        if "subsampling level" in reason and markers.components == 3:
            # A chroma layout that the TurboJPEG interface has no name for; libjpeg's own interface
            # takes it.
            with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
                return np.asarray(image.convert("RGB"), np.uint8), ()
    except (ValueError, OSError, SyntaxError) as error:
        reason = str(error) or reason
    raise ImageDamaged.because("jpeg", reason)


def _cmyk_to_rgb(cmyk: NDArray[np.uint8], *, inverted: bool) -> NDArray[np.uint8]:
    """RGB of (H, W, 4) ink amounts by (1 - ink)(1 - black), the usual conversion without a profile.

    Adobe's programs, and everything that writes its APP14 marker, store 255 for "no ink".
    """
    if not inverted:
        cmyk = cv2.bitwise_not(cmyk).astype(np.uint8, copy=False)
    *inks, black = cv2.split(cmyk)
    rgb = cv2.merge([cv2.multiply(ink, black, scale=1 / 255) for ink in inks])
    return np.asarray(rgb, np.uint8)
