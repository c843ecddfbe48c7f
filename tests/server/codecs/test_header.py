"""Type and size from the bytes alone, and the limits."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from server.codecs.errors import ImageDamaged, ImageTooLarge, NotAnImage
from server.codecs.header import Header, Limits, check_limits, read_header
from tests.server.codecs.pictures import chunk, photo, png_of, saved, tiff_of

KINDS = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (37, 23), (300, 200)])
def test_every_type_gives_its_size_without_its_pixels(kind: str, size: tuple[int, int]) -> None:
    data = saved(photo(*size), kind)
    assert read_header(data) == Header(kind.lower(), *size, frames=1)


@pytest.mark.parametrize("settings", [{"lossless": True}, {"exif": b"Exif\0\0x"}, {"quality": 5}])
def test_all_three_webp_layouts_give_their_size(settings: dict[str, object]) -> None:
    data = saved(photo(61, 47), "WEBP", **settings)
    assert read_header(data) == Header("webp", 61, 47)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_frames_are_counted(kind: str) -> None:
    frames = [Image.fromarray(photo(40, 30, seed)) for seed in range(3)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert read_header(data).frames == 3


def test_a_tiff_whose_pages_bite_their_tail_is_counted_to_its_end() -> None:
    data = bytearray(tiff_of([(256, 4, 1, 5), (257, 4, 1, 6)]))
    data[-4:] = struct.pack("<I", 8)
    assert read_header(bytes(data)) == Header("tiff", 5, 6, 1)


def test_bigtiff_in_both_byte_orders_gives_its_size() -> None:
    for order, mark in (("<", b"II+\x00"), (">", b"MM\x00+")):
        entries = b"".join(
            struct.pack(order + "HHQ", tag, 4, 1) + struct.pack(order + "II", value, 0)
            for tag, value in ((256, 12), (257, 34))
        )
        directory = struct.pack(order + "Q", 2) + entries + struct.pack(order + "Q", 0)
        data = mark + struct.pack(order + "HHQ", 8, 0, 16) + directory
        assert read_header(data) == Header("tiff", 12, 34)


def test_bmp_rows_from_the_top_and_the_oldest_header_are_read() -> None:
    top_down = bytearray(saved(photo(20, 10), "BMP"))
    struct.pack_into("<i", top_down, 22, -10)
    assert read_header(bytes(top_down)) == Header("bmp", 20, 10)
    os2 = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 7, 9, 1, 24)
    assert read_header(os2) == Header("bmp", 7, 9)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the image is empty (0 bytes)"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"hello, this is not a picture", "text"),
        ("ein Bild wäre schöner".encode() * 20, "text"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "a HEIC/HEIF image"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2", "an MP4 or MOV video"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", "of an unknown type (it begins with 00 01 02"),
        (bytes(5000), "of an unknown type (it begins with 00 00 00"),
    ],
)
def test_what_is_no_image_is_named_and_the_types_that_are_read_are_listed(
    data: bytes, words: str
) -> None:
    with pytest.raises(NotAnImage) as caught:
        read_header(data)
    assert words in str(caught.value)
    assert str(caught.value).endswith("send JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF")


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_cut_anywhere_is_refused_with_a_sentence(kind: str) -> None:
    data = saved(photo(64, 48), kind)
    whole = read_header(data)
    for length in range(1, 200):
        sentence = "send"
        try:
            found = read_header(data[:length])
        except (ImageDamaged, NotAnImage) as error:
            found, sentence = whole, str(error)
        assert found == whole  # everything needed was there
        assert "send" in sentence
    with pytest.raises((ImageDamaged, NotAnImage)):
        read_header(data[:10])


def test_a_size_of_zero_is_refused() -> None:
    with pytest.raises(ImageDamaged, match="its header gives a size of 0x5"):
        read_header(png_of(0, 5, b""))
    with pytest.raises(ImageDamaged, match="its header gives a size of 0x0"):
        read_header(tiff_of([(258, 3, 1, 8)]))


def test_a_wrong_checksum_in_the_png_header_is_refused() -> None:
    data = bytearray(saved(photo(8, 8), "PNG"))
    data[17] ^= 1
    with pytest.raises(ImageDamaged, match="wrong checksum in chunk IHDR"):
        read_header(bytes(data))


def test_too_many_megapixels_are_refused_with_both_numbers_and_the_flag() -> None:
    with pytest.raises(ImageTooLarge) as caught:
        check_limits(Header("jpeg", 9000, 7000), Limits(25, 16384))
    assert str(caught.value) == (
        "image is 9000x7000 (63.0 MP), this server takes up to 25 MP and 16384 px a side:"
        " resize it, or start the server with --max-megapixels 63"
    )


def test_a_side_too_long_is_refused_with_its_own_flag() -> None:
    data = saved(np.zeros((1, 30000), np.uint8), "PNG")
    with pytest.raises(ImageTooLarge) as caught:
        check_limits(read_header(data), Limits(25, 16384))
    assert "image is 30000x1 (0.1 MP)" in str(caught.value)
    assert str(caught.value).endswith("start the server with --max-side-px 30000")


def test_a_tiny_file_that_claims_a_gigapixel_names_both_flags() -> None:
    data = png_of(40000, 30000, b"")
    assert len(data) < 80
    with pytest.raises(ImageTooLarge) as caught:
        check_limits(read_header(data), Limits(25, 16384))
    assert str(caught.value).endswith("--max-megapixels 1200 --max-side-px 40000")


def test_an_image_just_over_the_limit_does_not_look_equal_to_it() -> None:
    with pytest.raises(ImageTooLarge, match=r"\(25\.1 MP\)"):
        check_limits(Header("png", 5000, 5001), Limits(25, 16384))


def test_an_image_at_the_limits_passes() -> None:
    check_limits(Header("png", 5000, 5000), Limits(25, 5000))


def test_counting_frames_stops_in_a_file_made_of_a_million_blocks() -> None:
    gif = saved(photo(4, 4), "GIF")[:-1] + b"\x21\xfe" + b"\x01x" * 1_000_000
    assert read_header(gif).frames == 1
    webp = bytearray(saved(photo(4, 4), "WEBP", exif=b"Exif\0\0"))
    webp[20] |= 2
    frames = read_header(bytes(webp) + b"ANMF\0\0\0\0" * 200_000).frames
    assert 1 <= frames <= 50_000


def test_chunks_and_segments_without_end_are_refused_not_walked() -> None:
    with pytest.raises(ImageDamaged, match="chunks"):
        read_header(saved(photo(4, 4), "PNG")[:33] + chunk(b"tEXt", b"") * 60_000)
    with pytest.raises(ImageDamaged, match="segments"):
        read_header(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 10_000)


def test_fill_bytes_before_a_jpeg_marker_are_skipped_up_to_a_bound() -> None:
    whole = saved(np.zeros((5, 7, 3), np.uint8), "JPEG")
    padded = whole[:2] + b"\xff" * 9 + whole[2:]
    assert read_header(padded) == read_header(whole)
    with pytest.raises(ImageDamaged, match="4096 fill bytes in a row"):
        read_header(whole[:2] + b"\xff" * 50_000_000)
