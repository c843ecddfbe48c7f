"""Every type that can say which way is up is believed, and metadata is kept only when asked."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from server.codecs.decode import Decoded, decode
from server.codecs.exif import Exif, read_exif, resolution_block
from server.job import EncodedSource
from tests.server.codecs.pictures import (
    LIMITS,
    chunk,
    disc,
    exif_block,
    icc_profile,
    photo,
    png_of,
    saved,
    tiff_of,
)

PHOTO = photo(60, 40)


def kept(data: bytes) -> Decoded:
    return decode(EncodedSource(data), LIMITS, keep_metadata=True)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_all_eight_orientations_are_honoured(kind: str, orientation: int) -> None:
    settings = {
        "JPEG": {"quality": 98, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 98},
    }.get(kind, {})
    exif = Image.Exif()
    exif[274] = orientation
    data = saved(PHOTO, kind, exif=exif, **settings)
    tagged = Image.fromarray(PHOTO)
    tagged.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged))
    result = decode(EncodedSource(data), LIMITS).rgb
    assert result.shape == expected.shape
    assert np.abs(result.astype(int) - expected).max() <= 16
    assert result.flags.c_contiguous


def test_the_alpha_is_turned_with_the_colours() -> None:
    exif = Image.Exif()
    exif[274] = 6
    alpha = disc(60, 40)
    alpha[:5, :9] = 77
    result = decode(EncodedSource(saved(np.dstack([PHOTO, alpha]), "PNG", exif=exif)), LIMITS)
    assert result.alpha is not None
    assert (result.alpha == np.rot90(alpha, -1)).all()
    assert result.alpha.flags.c_contiguous


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_read_in_both_byte_orders(order: str) -> None:
    assert read_exif(exif_block(8, order=order, dpi=300)) == Exif(8, (300.0, 300.0))
    assert read_exif(b"Exif\0\0" + exif_block(3, order=order)) == Exif(3)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"II*\0",
        b"XX*\0\x08\0\0\0",
        exif_block(9),
        exif_block(0),
        exif_block(6)[:12],
        b"II*\0\xff\xff\xff\xff",
        tiff_of([(274, 5, 1, 0xFFFFFFF0)]),
    ],
)
def test_broken_exif_means_upright_not_an_error(block: bytes) -> None:
    assert read_exif(block) == Exif()


def test_exif_cut_after_the_orientation_still_counts() -> None:
    assert read_exif(exif_block(6, dpi=72)[:24]).orientation == 6


def test_no_random_exif_raises() -> None:
    rng = np.random.default_rng(5)
    whole = exif_block(6, dpi=72)
    for _ in range(2000):
        block = bytearray(whole)
        for _ in range(4):
            block[rng.integers(len(block))] = rng.integers(256)
        assert 1 <= read_exif(bytes(block)[: rng.integers(len(block) + 1)]).orientation <= 8


def test_the_resolution_block_reads_back() -> None:
    assert read_exif(resolution_block((300, 150.5))) == Exif(1, (300.0, 150.5))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_rgb_profile_is_kept_when_asked_and_only_then(kind: str) -> None:
    data = saved(PHOTO, kind, icc_profile=icc_profile())
    assert kept(data).icc == icc_profile()
    assert decode(EncodedSource(data), LIMITS).icc is None


def test_a_jpeg_profile_in_many_segments_is_put_together() -> None:
    profile = icc_profile(size=200_000)
    assert kept(saved(PHOTO, "JPEG", icc_profile=profile)).icc == profile


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_the_resolution_is_kept_when_asked_and_only_then(kind: str) -> None:
    data = saved(PHOTO, kind, dpi=(300, 150))
    assert kept(data).dpi == pytest.approx((300, 150), abs=0.05)
    assert decode(EncodedSource(data), LIMITS).dpi is None


# Not BMP: Pillow writes 96 dpi into each.
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF"])
def test_no_resolution_is_made_up_where_the_file_has_none(kind: str) -> None:
    assert kept(saved(PHOTO, kind)).dpi is None


def test_the_resolution_of_exif_counts_where_the_format_itself_has_none() -> None:
    data = saved(PHOTO, "WEBP", exif=exif_block(1, dpi=240))
    assert kept(data).dpi == (240, 240)


def test_the_resolution_turns_with_the_picture() -> None:
    data = saved(PHOTO, "JPEG", dpi=(300, 150), exif=b"Exif\0\0" + exif_block(6))
    assert kept(data).dpi == (300, 150)[::-1]


@pytest.mark.parametrize(
    ("profile", "note"),
    [
        (icc_profile(b"CMYK"), "the ICC profile is for CMYK colours, the result is RGB"),
        (icc_profile(b"GRAY"), "the ICC profile is for GRAY colours, the result is RGB"),
        (b"not a profile", "the ICC profile is broken"),
        (bytes(5 << 20), "the ICC profile is larger than 4 MiB"),
    ],
)
def test_a_profile_that_cannot_stand_in_the_result_is_left_out_with_a_note(
    profile: bytes, note: str
) -> None:
    packed = chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))
    result = kept(png_of(1, 1, b"\0abc", before=packed))
    assert result.icc is None
    assert len(result.notes) == 1
    assert result.notes[0].startswith(note)
    assert result.notes[0].endswith("not kept")


def test_cmyk_with_a_profile_says_that_the_profile_was_not_used() -> None:
    data = saved(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", icc_profile=icc_profile(b"CMYK"))
    assert "the CMYK colours were converted without their ICC profile" in kept(data).notes


def test_a_broken_profile_stream_does_not_cost_the_picture() -> None:
    before = chunk(b"iCCP", b"name\0\0broken") + chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1))
    result = kept(png_of(1, 1, b"\0abc", before=before))
    assert result.rgb.tolist() == [[list(b"abc")]]
    assert result.icc is None
    assert result.dpi is None


def test_exif_after_the_pixel_data_counts_too() -> None:
    rows = b"\0abcdef"
    result = decode(EncodedSource(png_of(2, 1, rows, after=chunk(b"eXIf", exif_block(6)))), LIMITS)
    assert result.rgb.tolist() == [[list(b"abc")], [list(b"def")]]
