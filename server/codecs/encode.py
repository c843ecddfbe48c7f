"""The one door out: finished pixels become the bytes of a reply. Called by `server.pipeline`.

Which format may hold which output is decided in `server.options`, long before pixels exist; a
combination that cannot be written is therefore a mistake of ours here (ValueError), not of the
caller.
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.codecs import deflate
from server.codecs.coco_rle import encode_mask
from server.codecs.errors import ImageTooLarge
from server.codecs.exif import resolution_block
from server.codecs.png import write_png
from server.codecs.polygons import Outline, trace
from server.codecs.tensor import Tensor, make_tensor
from server.job import Format, Options, PixelFormat

_MEDIA_TYPES = {
    Format.PNG: "image/png",
    Format.WEBP: "image/webp",
    Format.JPEG: "image/jpeg",
    Format.ZIP: "application/zip",
}
_MAX_SIDE_PX = {Format.WEBP: 16383, Format.JPEG: 65500, Format.ZIP: 65500}
_LOSSLESS = 100
_FULL_CHROMA_FROM = 95  # below, colour at half size saves a third of the bytes unseen
_JFIF_HEADER_END = 20  # start marker and the APP0 segment that simplejpeg writes first
_ICC_PART_BYTES = 65519  # what one APP2 segment can hold
HALF = 128  # of alpha
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # equal pictures make equal files


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes of a result: a file when `media_type` is set, else pixels of `pixel_format`."""

    media_type: str | None  # "image/png", "image/webp", "image/jpeg", "application/zip"
    data: bytes
    width: int  # px
    height: int
    pixel_format: PixelFormat | None = None  # GRAY8, RGB8 or RGBA8
    is_zlib: bool = False  # `data` is one zlib stream around the pixels


@dataclass(frozen=True, slots=True)
class EncodedMask:
    """A mask in one of its two forms."""

    form: str | list[Outline]  # COCO's `counts`, or outlines as `server.codecs.polygons` has them
    width: int  # px
    height: int


Packed = Encoded | EncodedMask | Tensor


def encode_result(
    pixels: NDArray[np.uint8],
    alpha_u8: NDArray[np.uint8],
    options: Options,
    *,
    icc: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> Packed:
    """The result packed as `options.format` at `options.quality`.

    Args:
        pixels: (H, W) alpha, (H, W, 4) cutout, (H, W, 3) or (H, W, 4) composite; for ZIP the
            source's RGB (H, W, 3); for a tensor (H, W, 3); for masks the alpha, whose upper half
            belongs to them.
        alpha_u8: (H, W) alpha; read for ZIP only.
        options: only `format`, `quality` and `tensor` are read.
        icc: a profile for RGB; left out where the result is grey, which it does not describe.
        dpi: dots per inch; PNG, WebP and JPEG carry it.

    Raises:
        ImageTooLarge: a side longer than the format can hold.
        OutlineTooLong: polygons of a mask that is all edges.
        ValueError: pixels that the format cannot hold.
    """
    if pixels.dtype != np.uint8 or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    ):
        raise ValueError(f"cannot encode {pixels.dtype} of shape {pixels.shape}")
    height, width = pixels.shape[:2]
    _check_sides(width, height, options.format)
    profile = icc if pixels.ndim == 3 else None
    match options.format:
        case Format.PNG:
            data = write_png(pixels, icc=profile, dpi=dpi)
        case Format.WEBP:
            data = _webp(pixels, options.quality, profile, dpi)
        case Format.JPEG:
            data = _jpeg(pixels, options.quality, profile, dpi)
        case Format.ZIP:
            if pixels.shape != (*alpha_u8.shape, 3):
                raise ValueError(f"a zip takes RGB and alpha, not {pixels.shape}, {alpha_u8.shape}")
            data = _zip(_jpeg(pixels, options.quality, profile, dpi), write_png(alpha_u8, dpi=dpi))
        case Format.RAW:
            return Encoded(None, pixels.tobytes(), width, height, _pixel_format(pixels))
        case Format.ZLIB:
            data = deflate.compress(np.ascontiguousarray(pixels))
            return Encoded(None, data, width, height, _pixel_format(pixels), is_zlib=True)
        case Format.RLE:
            return EncodedMask(encode_mask(_mask(pixels)), width, height)
        case Format.POLYGONS:
            return EncodedMask(trace(_mask(pixels)), width, height)
        case Format.TENSOR:
            return make_tensor(pixels, options.tensor)
    return Encoded(_MEDIA_TYPES[options.format], data, width, height)


def _check_sides(width: int, height: int, result_format: Format) -> None:
    most = _MAX_SIDE_PX.get(result_format)
    if most is not None and max(width, height) > most:
        raise ImageTooLarge(
            f"the result is {width}x{height}, {result_format.upper()} holds up to {most} px a side:"
            " ask for PNG, or send a smaller image"
        )


def _mask(alpha_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W), 1 where alpha is at least one half: the pixels that the report's box is around."""
    return (alpha_u8 >= HALF).view(np.uint8)


def _pixel_format(pixels: NDArray[np.uint8]) -> PixelFormat:
    if pixels.ndim == 2:
        return PixelFormat.GRAY8
    return PixelFormat.RGB8 if pixels.shape[2] == 3 else PixelFormat.RGBA8


def _webp(
    pixels: NDArray[np.uint8], quality: int, icc: bytes | None, dpi: tuple[float, float] | None
) -> bytes:
    """WebP by Pillow at method 0: a fifth of the default method's time for a third more bytes."""
    file = io.BytesIO()
    lossless = quality == _LOSSLESS
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        file,
        "WEBP",
        lossless=lossless,
        quality=0 if lossless else quality,  # lossless: the effort, and 0 is 14 times as fast as 75
        method=0,
        icc_profile=icc or b"",
        exif=b"" if dpi is None else resolution_block(dpi),
    )
    return file.getvalue()


def _jpeg(
    pixels: NDArray[np.uint8], quality: int, icc: bytes | None, dpi: tuple[float, float] | None
) -> bytes:
    """JPEG by libjpeg-turbo, with density and profile put into its header."""
    if pixels.ndim == 2:
        space, chroma, pixels = "GRAY", "Gray", pixels[:, :, np.newaxis]
    elif pixels.shape[2] == 3:
        space, chroma = "RGB", "444" if quality >= _FULL_CHROMA_FROM else "420"
    else:
        raise ValueError("JPEG has no alpha: the composite's background must be opaque")
    import simplejpeg  # see `server.codecs.jpeg`

    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality, colorspace=space, colorsubsampling=chroma
    )
    if icc is None and dpi is None:
        return data
    header = bytearray(data[:_JFIF_HEADER_END])
    if dpi is not None:
        across, down = (min(max(round(value), 1), 65535) for value in dpi)
        struct.pack_into(">BHH", header, 13, 1, across, down)  # unit 1: dots per inch
    return b"".join([header, *_icc_segments(icc or b""), memoryview(data)[_JFIF_HEADER_END:]])


def _icc_segments(icc: bytes) -> list[bytes]:
    """The profile in numbered APP2 segments."""
    parts = [icc[at : at + _ICC_PART_BYTES] for at in range(0, len(icc), _ICC_PART_BYTES)]
    return [
        b"\xff\xe2"
        + struct.pack(">H", 2 + 12 + 2 + len(part))
        + b"ICC_PROFILE\x00"
        + bytes((number, len(parts)))
        + part
        for number, part in enumerate(parts, start=1)
    ]


def _zip(color_jpg: bytes, alpha_png: bytes) -> bytes:
    """`color.jpg` and `alpha.png`, stored: both are compressed already."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (("color.jpg", color_jpg), ("alpha.png", alpha_png)):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), data)
    return file.getvalue()
