"""Raw pixels: geometry checked to the byte, colours as the matrix says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from server.codecs.decode import decode
from server.codecs.errors import ImageTooLarge, RawLayoutWrong
from server.codecs.raw import planes, raw_to_rgb
from server.job import ColorMatrix, PixelFormat, RawSource
from tests.server.codecs.pictures import LIMITS, disc, photo

RGB = photo(30, 22)
RGBA = np.dstack([RGB, disc(30, 22)])


def packed(pixels: NDArray[np.uint8], padding: int = 0) -> bytes:
    """Rows of `pixels`, each followed by `padding` bytes that are no pixels."""
    rows = pixels.reshape(pixels.shape[0], -1)
    return np.pad(rows, ((0, 0), (0, padding)), constant_values=99).tobytes()


def yuv_planes(width: int, height: int) -> tuple[NDArray[np.uint8], ...]:
    """Luma and chroma over their whole range, out of gamut included."""
    rng = np.random.default_rng(width * height)
    luma = rng.integers(0, 256, (height, width), dtype=np.uint8)
    cb, cr = rng.integers(0, 256, (2, height // 2, width // 2), dtype=np.uint8)
    return luma, cb, cr


def reference_rgb(
    luma: NDArray[np.uint8],
    cb: NDArray[np.uint8],
    cr: NDArray[np.uint8],
    matrix: ColorMatrix,
    full_range: bool,
) -> NDArray[np.float64]:
    """The conversion as the standards write it, in double precision: analogue values first."""
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix.value]
    if full_range:
        y, pb, pr = luma / 255, (cb.astype(float) - 128) / 255, (cr.astype(float) - 128) / 255
    else:
        y = (luma.astype(float) - 16) / 219
        pb, pr = (cb.astype(float) - 128) / 224, (cr.astype(float) - 128) / 224
    pb, pr = (np.repeat(np.repeat(plane, 2, 0), 2, 1) for plane in (pb, pr))
    r = y + 2 * (1 - red) * pr
    b = y + 2 * (1 - blue) * pb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.dstack([r, g, b]) * 255, 0, 255)


@pytest.mark.parametrize("padding", [0, 1, 17])
@pytest.mark.parametrize(
    ("pixel_format", "pixels"),
    [
        (PixelFormat.RGB8, RGB),
        (PixelFormat.BGR8, RGB[:, :, ::-1]),
        (PixelFormat.RGBA8, RGBA),
        (PixelFormat.GRAY8, RGB[:, :, 0]),
    ],
)
def test_packed_formats_come_back_exactly_with_and_without_padding(
    pixel_format: PixelFormat, pixels: NDArray[np.uint8], padding: int
) -> None:
    data = packed(pixels, padding)
    strides = (len(data) // 22,) if padding else ()
    rgb, alpha = raw_to_rgb(RawSource(data, pixel_format, 30, 22, strides))
    expected = np.dstack([RGB[:, :, 0]] * 3) if pixel_format is PixelFormat.GRAY8 else RGB
    assert (rgb == expected).all()
    assert rgb.flags.c_contiguous
    if pixel_format is PixelFormat.RGBA8:
        assert alpha is not None
        assert (alpha == RGBA[:, :, 3]).all()
        assert alpha.flags.c_contiguous
    else:
        assert alpha is None


def test_tight_rgb_is_not_copied() -> None:
    data = packed(RGB)
    rgb, _ = raw_to_rgb(RawSource(data, PixelFormat.RGB8, 30, 22))
    assert np.shares_memory(rgb, np.frombuffer(data, np.uint8))


def test_a_memoryview_is_taken_like_bytes() -> None:
    shared = bytearray(packed(RGB[:, :, ::-1]))
    rgb, _ = raw_to_rgb(RawSource(memoryview(shared), PixelFormat.BGR8, 30, 22))
    assert (rgb == RGB).all()


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", list(ColorMatrix))
@pytest.mark.parametrize("pixel_format", [PixelFormat.NV12, PixelFormat.I420])
@pytest.mark.parametrize("size", [(2, 2), (34, 18), (1280, 720)])
def test_yuv_matches_the_standards_formula(
    pixel_format: PixelFormat,
    matrix: ColorMatrix,
    full_range: bool,
    padding: int,
    size: tuple[int, int],
) -> None:
    width, height = size
    luma, cb, cr = yuv_planes(width, height)
    if pixel_format is PixelFormat.NV12:
        parts = [luma, np.dstack([cb, cr])]
        widths = [width, width]
    else:
        parts = [luma, cb, cr]
        widths = [width, width // 2, width // 2]
    data = b"".join(packed(part, padding) for part in parts)
    strides = tuple(part + padding for part in widths) if padding else ()
    source = RawSource(data, pixel_format, width, height, strides, matrix, full_range)
    rgb, alpha = raw_to_rgb(source)
    expected = reference_rgb(luma, cb, cr, matrix, full_range)
    # Rounding is 0.5; the rest is the fixed-point arithmetic of cv2.transform.
    assert np.abs(rgb - expected).max() <= 1
    assert alpha is None


@pytest.mark.parametrize(
    ("matrix", "full_range", "white", "black"),
    [
        (ColorMatrix.BT601, False, 235, 16),
        (ColorMatrix.BT709, False, 235, 16),
        (ColorMatrix.BT601, True, 255, 0),
        (ColorMatrix.BT709, True, 255, 0),
    ],
)
def test_yuv_white_and_black_are_white_and_black(
    matrix: ColorMatrix, full_range: bool, white: int, black: int
) -> None:
    for luma, expected in ((white, 255), (black, 0)):
        data = bytes([luma] * 4 + [128, 128])
        source = RawSource(data, PixelFormat.NV12, 2, 2, (), matrix, full_range)
        assert np.abs(raw_to_rgb(source)[0].astype(int) - expected).max() <= 1


def test_the_matrix_follows_the_height_when_none_is_given() -> None:
    for height, matrix in ((718, ColorMatrix.BT601), (720, ColorMatrix.BT709)):
        data = b"\x80" * (height * 2) + b"\x40\xc0" * (height // 2)
        default = RawSource(data, PixelFormat.NV12, 2, height)
        named = RawSource(data, PixelFormat.NV12, 2, height, color_matrix=matrix)
        assert (raw_to_rgb(default)[0] == raw_to_rgb(named)[0]).all()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            RawSource(bytes(100), PixelFormat.RGB8, 30, 22),
            "raw RGB8 of 30x22 with strides 90 is 1980 bytes, 100 came",
        ),
        (
            RawSource(bytes(1981), PixelFormat.RGB8, 30, 22),
            "raw RGB8 of 30x22 with strides 90 is 1980 bytes, 1981 came",
        ),
        (
            RawSource(bytes(640 * 480), PixelFormat.NV12, 640, 480),
            "raw NV12 of 640x480 with strides 640, 640 is 460800 bytes, 307200 came",
        ),
        (
            RawSource(bytes(10), PixelFormat.NV12, 641, 480),
            "raw NV12 is 641x480: width and height must be even",
        ),
        (
            RawSource(bytes(10), PixelFormat.I420, 640, 481),
            "raw I420 is 640x481: width and height must be even",
        ),
        (
            RawSource(b"", PixelFormat.GRAY8, 0, 5),
            "raw GRAY8 is 0x5: width and height must be 1 or more",
        ),
        (
            RawSource(bytes(10), PixelFormat.RGBA8, 30, 22, (30,)),
            "stride of plane 0 of raw RGBA8 is 30, a row of 30 px needs 120 bytes",
        ),
        (
            RawSource(bytes(10), PixelFormat.I420, 30, 22, (30, 30, 14)),
            "stride of plane 2 of raw I420 is 14, a row of 30 px needs 15 bytes",
        ),
        (
            RawSource(bytes(10), PixelFormat.NV12, 30, 22, (30,)),
            "raw NV12 came with 1 strides, it has 2 planes",
        ),
        (
            RawSource(bytes(10), PixelFormat.BGR8, 30, 22, (90, 90)),
            "raw BGR8 came with 2 strides, it has 1 planes",
        ),
    ],
)
def test_a_layout_that_does_not_fit_is_refused_with_the_numbers(
    source: RawSource, sentence: str
) -> None:
    with pytest.raises(RawLayoutWrong) as caught:
        decode(source, LIMITS)
    assert str(caught.value).startswith(sentence)
    assert ": " in str(caught.value)


def test_raw_pixels_meet_the_same_limits_as_files() -> None:
    with pytest.raises(ImageTooLarge, match=r"image is 30000x1 \(0.1 MP\)"):
        decode(RawSource(bytes(30000), PixelFormat.GRAY8, 30000, 1), LIMITS)


def test_raw_is_decoded_through_the_same_door_as_files() -> None:
    result = decode(RawSource(packed(RGBA), PixelFormat.RGBA8, 30, 22), LIMITS)
    assert result.format == "raw"
    assert (result.rgb == RGB).all()
    assert result.alpha is not None


def test_planes_lie_one_after_the_other() -> None:
    source = RawSource(bytes(7 * 8 + 6 * 4 + 5 * 4), PixelFormat.I420, 6, 8, (7, 6, 5))
    assert [plane.start for plane in planes(source)] == [0, 56, 80]
