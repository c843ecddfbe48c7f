"""Every output in every format that may hold it, read back by someone else's reader."""

from __future__ import annotations

import io
import zipfile
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from server.codecs import deflate
from server.codecs.decode import decode
from server.codecs.encode import Encoded, EncodedMask, encode_result
from server.codecs.errors import ImageTooLarge
from server.job import EncodedSource, Format, Options, PixelFormat
from tests.server.codecs.pictures import LIMITS, disc, icc_profile, photo

RGB = photo(62, 46)
ALPHA = disc(62, 46)
CUTOUT = np.dstack([RGB * (ALPHA > 0)[:, :, None], ALPHA]).astype(np.uint8)
PIXELS = {"alpha": ALPHA, "cutout": CUTOUT, "composite": RGB}


def encoded(
    pixels: NDArray[np.uint8], result_format: Format, quality: int = 90, **metadata: object
) -> Encoded:
    options = Options(format=result_format, quality=quality)
    return encode_result(pixels, ALPHA, options, **metadata)  # type: ignore[arg-type]


def read_back(data: bytes) -> tuple[Image.Image, NDArray[np.int64]]:
    image = Image.open(io.BytesIO(data))
    return image, np.asarray(image).astype(int)


@pytest.mark.parametrize("what", PIXELS)
def test_png_holds_every_output_exactly(what: str) -> None:
    result = encoded(PIXELS[what], Format.PNG)
    image, pixels = read_back(result.data)
    assert image.format == "PNG"
    assert (pixels == PIXELS[what]).all()
    assert result.media_type == "image/png"
    assert (result.width, result.height) == (62, 46)
    assert result.pixel_format is None
    assert not result.is_zlib


@pytest.mark.parametrize("what", PIXELS)
def test_webp_at_quality_100_is_lossless_where_anything_shows(what: str) -> None:
    result = encoded(PIXELS[what], Format.WEBP, 100)
    image, pixels = read_back(result.data)
    assert result.media_type == "image/webp"
    assert image.format == "WEBP"
    if what == "alpha":
        assert (pixels == np.dstack([ALPHA] * 3)).all()
    else:
        assert (pixels == PIXELS[what]).all()


def test_webp_below_100_is_lossy_in_colours_and_exact_in_alpha() -> None:
    result = encoded(CUTOUT, Format.WEBP, 80)
    _, pixels = read_back(result.data)
    assert (pixels[:, :, 3] == ALPHA).all()
    inside = ALPHA == 255
    assert 0 < np.abs(pixels[inside] - CUTOUT[inside]).mean() < 6
    assert len(encoded(CUTOUT, Format.WEBP, 20).data) < len(encoded(CUTOUT, Format.WEBP, 95).data)


@pytest.mark.parametrize(("quality", "sampling"), [(90, 2), (95, 0), (100, 0)])
def test_jpeg_holds_a_composite_with_finer_colour_at_high_quality(
    quality: int, sampling: int
) -> None:
    result = encoded(RGB, Format.JPEG, quality)
    image, pixels = read_back(result.data)
    assert result.media_type == "image/jpeg"
    assert image.mode == "RGB"
    assert np.abs(pixels - RGB).mean() < 3
    factors = [layer[1:3] for layer in image.layer]  # type: ignore[attr-defined]
    assert factors[0] == ((2, 2) if sampling else (1, 1))


def test_jpeg_holds_an_alpha_as_grey() -> None:
    image, pixels = read_back(encoded(ALPHA, Format.JPEG, 95).data)
    assert image.mode == "L"
    assert np.abs(pixels - ALPHA).mean() < 3


@pytest.mark.parametrize("result_format", [Format.PNG, Format.WEBP, Format.JPEG])
def test_profile_and_resolution_go_into_files_and_are_read_back(result_format: Format) -> None:
    for profile in (icc_profile(), icc_profile(size=200_000)):
        result = encoded(RGB, result_format, icc=profile, dpi=(300.0, 150.0))
        back = decode(EncodedSource(result.data), LIMITS, keep_metadata=True)
        assert back.icc == profile
        assert back.dpi == pytest.approx((300, 150), abs=0.05)
        image, _ = read_back(result.data)
        assert image.info["icc_profile"] == profile
        assert image.info.get("dpi", (300, 150)) == pytest.approx((300, 150), abs=0.05)


@pytest.mark.parametrize("result_format", [Format.PNG, Format.WEBP, Format.JPEG])
def test_an_alpha_carries_the_resolution_but_no_colour_profile(result_format: Format) -> None:
    result = encoded(ALPHA, result_format, icc=icc_profile(), dpi=(72.0, 72.0))
    back = decode(EncodedSource(result.data), LIMITS, keep_metadata=True)
    assert back.icc is None
    assert back.dpi == pytest.approx((72, 72), abs=0.05)


def test_zip_holds_the_sources_colours_and_the_alpha_stored() -> None:
    result = encoded(RGB, Format.ZIP, 95, icc=icc_profile(), dpi=(300.0, 300.0))
    assert result.media_type == "application/zip"
    with zipfile.ZipFile(io.BytesIO(result.data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        color, color_pixels = read_back(archive.read("color.jpg"))
        _, alpha_pixels = read_back(archive.read("alpha.png"))
    assert np.abs(color_pixels - RGB).max() < 20  # outside the subject too
    assert color.info["icc_profile"] == icc_profile()
    assert (alpha_pixels == ALPHA).all()
    assert encoded(RGB, Format.ZIP, 95, icc=icc_profile(), dpi=(300.0, 300.0)) == result


@pytest.mark.parametrize(
    ("what", "pixel_format"),
    [
        ("alpha", PixelFormat.GRAY8),
        ("cutout", PixelFormat.RGBA8),
        ("composite", PixelFormat.RGB8),
    ],
)
@pytest.mark.parametrize("has_isal", [True, False])
def test_raw_and_zlib_hold_the_pixels_tightly(
    what: str, pixel_format: PixelFormat, has_isal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_isal:
        monkeypatch.setattr(deflate, "_isal", None)
    wide = np.concatenate([PIXELS[what], PIXELS[what]], axis=1)
    view = wide[:, 62:]  # rows with a gap
    raw, packed = encoded(view, Format.RAW), encoded(view, Format.ZLIB)
    assert raw.data == PIXELS[what].tobytes()
    assert zlib.decompress(packed.data) == raw.data
    assert (raw.is_zlib, packed.is_zlib) == (False, True)
    for result in (raw, packed):
        assert result.media_type is None
        assert result.pixel_format is pixel_format
        assert (result.width, result.height) == (62, 46)


@pytest.mark.parametrize("result_format", list(Format))
def test_a_single_pixel_goes_into_every_format(result_format: Format) -> None:
    alpha = np.full((1, 1), 255, np.uint8)
    is_mask = result_format in {Format.RLE, Format.POLYGONS}
    pixel = alpha if is_mask else np.full((1, 1, 3), 200, np.uint8)
    result = encode_result(pixel, alpha, Options(format=result_format))
    assert (result.width, result.height) == (1, 1)
    assert result.form if isinstance(result, EncodedMask) else result.data


@pytest.mark.parametrize("result_format", [Format.PNG, Format.WEBP])
def test_a_composite_on_a_translucent_colour_keeps_its_alpha(result_format: Format) -> None:
    translucent = np.dstack([RGB, np.full((46, 62), 128, np.uint8)])
    _, pixels = read_back(encoded(translucent, result_format, 100).data)
    assert (pixels == translucent).all()


@pytest.mark.parametrize(
    ("result_format", "name", "most"),
    [(Format.WEBP, "WEBP", 16383), (Format.JPEG, "JPEG", 65500), (Format.ZIP, "ZIP", 65500)],
)
def test_a_side_longer_than_the_format_holds_is_the_callers_to_change(
    result_format: Format, name: str, most: int
) -> None:
    long = np.zeros((1, most + 1, 3), np.uint8)
    with pytest.raises(ImageTooLarge) as caught:
        encode_result(long, long[:, :, 0], Options(format=result_format))
    assert str(caught.value).startswith(
        f"the result is {most + 1}x1, {name} holds up to {most} px a side: ask for PNG"
    )
    just_fits = np.zeros((1, most, 3), np.uint8)
    assert encode_result(just_fits, just_fits[:, :, 0], Options(format=result_format)).data


def test_combinations_that_no_options_allow_are_programming_errors() -> None:
    with pytest.raises(ValueError, match="JPEG has no alpha"):
        encoded(CUTOUT, Format.JPEG)
    with pytest.raises(ValueError, match="a zip takes RGB and alpha"):
        encoded(CUTOUT, Format.ZIP)
    with pytest.raises(ValueError, match="cannot encode float32"):
        encoded(ALPHA.astype(np.float32), Format.PNG)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot encode uint8 of shape"):
        encoded(np.zeros((4, 4, 2), np.uint8), Format.RAW)
