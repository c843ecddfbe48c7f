"""Every type in every sample layout becomes the right RGB, with the source's alpha beside it."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from server.codecs.decode import Decoded, decode
from server.codecs.errors import CodecMissing, ImageDamaged
from server.job import EncodedSource
from tests.server.codecs.pictures import (
    LIMITS,
    chunk,
    disc,
    float_tiff,
    grey_tiff,
    photo,
    png_of,
    saved,
)

PHOTO = photo(61, 47)
GREY = np.ascontiguousarray(PHOTO[:, :, 1])
ALPHA = disc(61, 47)
RGBA = np.dstack([PHOTO, ALPHA])
DEEP = (np.arange(47 * 61, dtype=np.uint32) * 65535 // (47 * 61 - 1)).astype(np.uint16)
DEEP = DEEP.reshape(47, 61)
DEEP_AS_8_BIT = np.rint(DEEP / 257).astype(np.uint8)


def opened(data: bytes) -> Decoded:
    result = decode(EncodedSource(data), LIMITS)
    assert result.rgb.dtype == np.uint8
    assert result.rgb.flags.c_contiguous
    assert result.rgb.shape[2] == 3
    assert result.alpha is None or result.alpha.shape == result.rgb.shape[:2]
    return result


def far(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other).max())


def spread(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([grey] * 3)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_rgb_comes_back_exactly(kind: str, settings: dict[str, object]) -> None:
    result = opened(saved(PHOTO, kind, **settings))
    assert (result.rgb == PHOTO).all()
    assert result.alpha is None
    assert result.format == kind.lower()
    assert result.notes == ()


@pytest.mark.parametrize(
    ("kind", "settings", "tolerance"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 8),
        ("JPEG", {"quality": 95, "keep_rgb": True}, 8),
        ("WEBP", {"quality": 95}, 24),
        ("AVIF", {"quality": 95}, 16),
        ("TIFF", {"compression": "jpeg", "quality": 95}, 16),
        ("GIF", {}, 90),
    ],
)
def test_lossy_rgb_comes_back_closely(
    kind: str, settings: dict[str, object], tolerance: int
) -> None:
    result = opened(saved(PHOTO, kind, **settings))
    assert far(result.rgb, PHOTO) <= tolerance
    assert result.alpha is None


@pytest.mark.parametrize(
    ("kind", "settings", "tolerance"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("BMP", {}, 0),
        ("GIF", {}, 0),
        ("JPEG", {"quality": 98}, 4),
        ("JPEG", {"quality": 98, "progressive": True}, 4),
        ("WEBP", {"lossless": True}, 0),
        ("AVIF", {"quality": 98}, 8),
    ],
)
def test_grey_becomes_three_equal_channels(
    kind: str, settings: dict[str, object], tolerance: int
) -> None:
    result = opened(saved(GREY, kind, **settings))
    assert far(result.rgb, spread(GREY)) <= tolerance
    assert result.alpha is None


@pytest.mark.parametrize(
    ("kind", "settings", "tolerance"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("WEBP", {"lossless": True, "exact": True}, 0),
        ("WEBP", {"quality": 95}, 0),
        ("AVIF", {"quality": 98}, 12),
    ],
)
def test_the_sources_alpha_is_returned_apart(
    kind: str, settings: dict[str, object], tolerance: int
) -> None:
    result = opened(saved(RGBA, kind, **settings))
    assert result.alpha is not None
    assert far(result.alpha, ALPHA) <= tolerance
    inside = ALPHA == 255
    assert far(result.rgb[inside], PHOTO[inside]) <= max(24, tolerance)
    if settings.get("exact") or kind in ("PNG", "TIFF"):
        assert (result.rgb == PHOTO).all()


def test_bmp_with_alpha_masks_keeps_its_alpha() -> None:
    bottom_up = RGBA[::-1, :, [2, 1, 0, 3]].tobytes()
    info = struct.pack("<IiiHHIIiiII", 108, 61, 47, 1, 32, 3, len(bottom_up), 0, 0, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = b"BM" + struct.pack("<IHHI", 122 + len(bottom_up), 0, 0, 122)
    result = opened(header + (info + masks).ljust(108, b"\0") + bottom_up)
    assert (result.rgb == PHOTO).all()
    assert result.alpha is not None
    assert (result.alpha == ALPHA).all()


def test_an_alpha_that_is_opaque_everywhere_is_no_alpha() -> None:
    assert opened(saved(np.dstack([PHOTO, np.full_like(ALPHA, 255)]), "PNG")).alpha is None


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha_gives_both(kind: str) -> None:
    result = opened(saved(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)]), kind))
    assert (result.rgb == spread(GREY)).all()
    assert result.alpha is not None
    assert (result.alpha == ALPHA).all()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
def test_a_palette_gives_its_colours(kind: str) -> None:
    image = Image.fromarray(PHOTO).quantize(64)
    result = opened(saved(image, kind))
    assert (result.rgb == np.asarray(image.convert("RGB"))).all()


def test_a_palette_with_an_alpha_per_colour_gives_that_alpha() -> None:
    palette = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255])
    rows = b"\0\x00\x01\x02" * 2
    before = chunk(b"PLTE", palette) + chunk(b"tRNS", bytes([0, 128]))
    result = opened(png_of(3, 2, rows, color_type=3, before=before))
    assert result.rgb[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert result.alpha is not None
    assert result.alpha[1].tolist() == [0, 128, 255]


def test_a_gif_with_a_transparent_colour_gives_alpha() -> None:
    image = Image.new("P", (4, 2))
    image.putpalette([0, 0, 0, 250, 10, 20])
    image.putdata([1, 1, 0, 0] * 2)
    result = opened(saved(image, "GIF", transparency=0))
    assert result.alpha is not None
    assert result.alpha[0].tolist() == [255, 255, 0, 0]
    assert result.rgb[0, 0].tolist() == [250, 10, 20]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_becomes_black_and_white(kind: str) -> None:
    bits = GREY > 128
    result = opened(saved(Image.fromarray(bits), kind))
    assert (result.rgb == spread(bits.astype(np.uint8) * 255)).all()


@pytest.mark.parametrize(("depth", "levels"), [(1, 2), (2, 4), (4, 16)])
def test_grey_of_few_bits_reaches_full_white(depth: int, levels: int) -> None:
    step = 255 // (levels - 1)
    per_byte = 8 // depth
    packed = bytes([sum((levels - 1) << depth * index for index in range(per_byte))])
    result = opened(png_of(per_byte, 1, b"\0" + packed, color_type=0, depth=depth))
    assert (result.rgb == 255).all()
    low = opened(png_of(per_byte, 1, b"\0\x01", color_type=0, depth=depth))
    assert low.rgb[0, -1].tolist() == [step] * 3


def test_a_transparent_grey_level_gives_alpha() -> None:
    for depth, rows, key in ((8, b"\0\x10\x20", 0x20), (1, b"\0\x40", 1)):
        before = chunk(b"tRNS", struct.pack(">H", key))
        result = opened(png_of(2, 1, rows, color_type=0, depth=depth, before=before))
        assert result.alpha is not None
        assert result.alpha.tolist() == [[255, 0]]


def test_a_transparent_rgb_colour_gives_alpha_at_8_and_16_bits() -> None:
    for depth, rows, key in (
        (8, b"\0\x01\x02\x03\x04\x05\x06", (4, 5, 6)),
        (16, b"\0" + bytes(range(1, 13)), (0x0708, 0x090A, 0x0B0C)),
    ):
        before = chunk(b"tRNS", struct.pack(">HHH", *key))
        result = opened(png_of(2, 1, rows, depth=depth, before=before))
        assert result.alpha is not None
        assert result.alpha.tolist() == [[255, 0]]


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    for kind in ("PNG", "TIFF"):
        result = opened(saved(DEEP, kind))
        assert (result.rgb == spread(DEEP_AS_8_BIT)).all()
        assert result.rgb.min() == 0
        assert result.rgb.max() == 255


def test_16_bit_grey_with_a_transparent_level_gives_alpha() -> None:
    before = chunk(b"tRNS", struct.pack(">H", 0x0102))
    data = png_of(2, 1, b"\0\x01\x02\x01\x03", color_type=0, depth=16, before=before)
    result = opened(data)
    assert result.alpha is not None
    assert result.alpha.tolist() == [[0, 255]]


@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_is_scaled_not_clipped(kind: str, channels: int) -> None:
    deep = np.dstack([DEEP, DEEP[::-1], DEEP[:, ::-1], DEEP][:channels])
    ok, data = cv2.imencode(kind, deep)
    assert ok
    result = opened(data.tobytes())
    expected = np.dstack([DEEP_AS_8_BIT[:, ::-1], DEEP_AS_8_BIT[::-1], DEEP_AS_8_BIT])
    assert far(result.rgb, expected) <= 1  # Pillow drops the low byte instead of rounding
    if channels == 4:
        assert result.alpha is not None
        assert far(result.alpha, DEEP_AS_8_BIT) <= 1


def test_16_bit_grey_with_alpha_is_scaled_not_clipped() -> None:
    rows = b"\0" + struct.pack(">HHHH", 0, 65535, 65535, 0x8000)
    result = opened(png_of(2, 1, rows, color_type=4, depth=16))
    assert result.rgb.tolist() == [[[0] * 3, [255] * 3]]
    assert result.alpha is not None
    assert result.alpha.tolist() == [[255, 128]]


def test_16_bit_tiff_with_white_as_zero_is_not_a_negative() -> None:
    data = bytearray(saved(DEEP, "TIFF"))
    entry = data.find(struct.pack("<HHI", 262, 3, 1))
    assert entry > 0
    struct.pack_into("<H", data, entry + 8, 0)
    assert far(opened(bytes(data)).rgb, spread(255 - DEEP_AS_8_BIT)) <= 1


@pytest.mark.parametrize(
    ("dtype", "sample_format"),
    [(np.int8, 2), (np.int16, 2), (np.int32, 2), (np.uint32, 1), (np.float32, 3), (np.float64, 3)],
)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_every_kind_of_tiff_samples_runs_from_black_to_white(
    dtype: type[np.generic], sample_format: int, order: str, photometric: int
) -> None:
    kind = np.dtype(dtype)
    least, most = (-0.5, 2.5) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
    samples = np.linspace(least, most, 12).astype(kind).reshape(3, 4)
    data = grey_tiff(samples, sample_format, order, photometric)
    expected = np.rint(np.linspace(0, 255, 12)).reshape(3, 4).astype(np.uint8)
    result = opened(data)
    assert far(result.rgb, spread(255 - expected if photometric == 0 else expected)) <= 1
    assert "were stretched to black and white" in result.notes[0]


def test_an_interlaced_png_is_read() -> None:
    # One pass of Adam7 holds the only pixel; a 3x3 picture uses five of the seven.
    assert opened(png_of(1, 1, b"\0\x07\x08\x09", interlaced=True)).rgb.tolist() == [[[7, 8, 9]]]
    passes = [[0], [], [], [2], [6, 8], [1, 7], [3, 4, 5]]  # indices of a 3x3 picture, row by row
    widths = [1, 0, 0, 1, 2, 1, 3]
    rows = b""
    for indices, width in zip(passes, widths, strict=True):
        for start in range(0, len(indices), width or 1):
            rows += b"\0" + bytes(indices[start : start + width])
    result = opened(png_of(3, 3, rows, color_type=0, interlaced=True))
    assert result.rgb[:, :, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_float_samples_from_0_to_1_are_black_to_white() -> None:
    samples = np.linspace(0, 1, 47 * 61, dtype=np.float32).reshape(47, 61)
    result = opened(saved(samples, "TIFF"))
    assert (result.rgb == spread(np.rint(samples * 255).astype(np.uint8))).all()
    assert result.notes == ()


def test_other_float_ranges_are_stretched_and_the_report_says_so() -> None:
    samples = np.linspace(-50, 1000, 47 * 61, dtype=np.float32).reshape(47, 61)
    result = opened(saved(samples, "TIFF"))
    assert result.rgb.min() == 0
    assert result.rgb.max() == 255
    assert result.notes == ("samples from -50 to 1000 were stretched to black and white",)


def test_32_bit_integers_are_stretched_and_a_flat_picture_is_no_division_by_zero() -> None:
    samples = np.arange(47 * 61, dtype=np.int32).reshape(47, 61) * 1000
    assert opened(saved(samples, "TIFF")).rgb.max() == 255
    flat = opened(saved(np.full((4, 4), 7, np.int32), "TIFF"))
    assert (flat.rgb == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_tiff_with_samples_that_are_not_finite_is_refused(bad: float) -> None:
    samples = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    samples[3, 4] = bad
    with pytest.raises(ImageDamaged, match=r"not finite \(NaN or infinity\): replace them"):
        opened(saved(samples, "TIFF"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_float_tiffs_that_pillow_does_not_know_are_read(
    dtype: type[np.floating], channels: int
) -> None:
    samples = np.linspace(0, 1, 12 * 10 * channels).reshape(12, 10, channels).astype(dtype)
    result = opened(float_tiff(samples[:, :, 0] if channels == 1 else samples))
    expected = np.rint(samples * 255).astype(np.uint8)
    assert far(result.rgb, np.broadcast_to(expected, (12, 10, 3))) <= 1
    samples[5, 5, 0] = np.nan
    with pytest.raises(ImageDamaged, match="not finite"):
        opened(float_tiff(samples[:, :, 0] if channels == 1 else samples))


def test_cmyk_jpeg_of_adobes_inverted_kind_has_the_right_colours() -> None:
    cmyk = Image.fromarray(PHOTO).convert("CMYK")
    data = saved(cmyk, "JPEG", quality=98, subsampling=0)
    assert b"Adobe" in data
    assert far(opened(data).rgb, PHOTO) <= 10


def test_ycck_jpeg_has_the_right_colours() -> None:
    ink = np.dstack([PHOTO, np.full_like(GREY, 255)])  # inverted: 255 is no black
    data = simplejpeg.encode_jpeg(ink, 98, colorspace="CMYK", colorsubsampling="444")
    assert simplejpeg.decode_jpeg_header(data)[2] == "YCCK"
    assert far(opened(data).rgb, PHOTO) <= 10


def test_black_ink_darkens() -> None:
    ink = np.dstack([np.full((16, 16, 3), 200, np.uint8), np.full((16, 16), 128, np.uint8)])
    data = simplejpeg.encode_jpeg(ink, 100, colorspace="CMYK", colorsubsampling="444")
    assert far(opened(data).rgb, np.full((16, 16, 3), 100, np.uint8)) <= 2


def test_cmyk_jpeg_without_adobes_marker_is_taken_as_plain_ink() -> None:
    plain_ink = 255 - np.dstack([PHOTO, np.full_like(GREY, 255)])
    data = saved(Image.frombytes("CMYK", (61, 47), (255 - plain_ink).tobytes()), "JPEG", quality=98)
    start = data.find(b"\xff\xee")
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    without = data[:start] + data[start + 2 + length :]
    # The stored numbers now mean the opposite.
    stored = simplejpeg.decode_jpeg(without, "CMYK")
    expected = (255 - stored[:, :, :3].astype(int)) * (255 - stored[:, :, 3:]) / 255
    assert far(opened(without).rgb, np.rint(expected).astype(np.uint8)) <= 1


def test_cmyk_tiff_has_the_right_colours() -> None:
    assert far(opened(saved(Image.fromarray(PHOTO).convert("CMYK"), "TIFF")).rgb, PHOTO) <= 1


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_tiff_in_other_colour_spaces_is_read(mode: str) -> None:
    if mode == "LAB":
        image = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (255, 128, 128)])
        assert opened(saved(image, "TIFF")).rgb.min() > 240  # white
    else:
        image = Image.fromarray(PHOTO).convert("YCbCr")
        assert far(opened(saved(image, "TIFF")).rgb, PHOTO) <= 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_several_frames_the_first_is_used_and_the_report_says_so(kind: str) -> None:
    settings = {"WEBP": {"lossless": True}, "AVIF": {"quality": 98}}.get(kind, {})
    frames = [Image.new("RGB", (40, 30), color) for color in ((200, 30, 30), (0, 0, 255))]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **settings)
    result = opened(data)
    assert far(result.rgb, np.asarray(frames[0])) <= 8
    name, unit = {"WEBP": "WebP"}.get(kind, kind), "pages" if kind == "TIFF" else "frames"
    assert result.notes == (f"the {name} has 2 {unit}, only the first was used",)


def test_a_jpeg_with_a_chroma_layout_that_turbojpeg_has_no_name_for_is_read() -> None:
    data = bytearray(saved(np.full((8, 24, 3), 128, np.uint8), "JPEG", subsampling=0))
    frame, scan = data.find(b"\xff\xc0"), data.find(b"\xff\xda")
    data[frame + 11] = 0x31  # three blocks of luma across for one of each chroma
    # Every block is "no change, end of block": 00 1010 in the usual luma tables, 00 00 in chroma's.
    bits = "001010" * 3 + "0000" * 2 + "111111"
    data[scan + 14 :] = int(bits, 2).to_bytes(4, "big") + b"\xff\xd9"
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(bytes(data))
    assert (opened(bytes(data)).rgb == np.full((8, 24, 3), 128, np.uint8)).all()


def test_jpegs_of_12_bits_or_without_loss_are_refused_by_name() -> None:
    for at, value, words in ((4, 12, "12-bit"), (1, 0xC3, "lossless or hierarchical")):
        data = bytearray(saved(PHOTO, "JPEG"))
        data[data.find(b"\xff\xc0") + at] = value
        with pytest.raises(CodecMissing, match=f"the JPEG is a {words} one"):
            opened(bytes(data))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"])
def test_the_smallest_pictures_are_read(kind: str, size: tuple[int, int]) -> None:
    result = opened(saved(np.full((size[1], size[0], 3), 130, np.uint8), kind))
    assert result.rgb.shape == (size[1], size[0], 3)
    assert far(result.rgb, np.full_like(result.rgb, 130)) <= 4


def test_the_file_name_and_claims_do_not_matter_only_the_bytes_do() -> None:
    file = io.BytesIO()
    file.name = "photo.jpg"
    Image.fromarray(PHOTO).save(file, "PNG")
    assert opened(file.getvalue()).format == "png"
