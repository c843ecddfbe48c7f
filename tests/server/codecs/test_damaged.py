"""Bad bytes: cut off, flipped, lying, exploding. Only ImageRejected comes out, and memory stays."""

from __future__ import annotations

import ctypes
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from server.codecs import deflate
from server.codecs.decode import Decoded, decode
from server.codecs.errors import ImageDamaged, ImageRejected, ImageTooLarge, NotAnImage
from server.codecs.header import Limits
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

PHOTO = photo(96, 64)
RGBA = np.dstack([PHOTO, disc(96, 64)])
FILES = {
    "jpeg": saved(
        PHOTO, "JPEG", exif=b"Exif\0\0" + exif_block(6, dpi=72), icc_profile=icc_profile()
    ),
    "progressive jpeg": saved(PHOTO, "JPEG", progressive=True),
    "cmyk jpeg": saved(Image.fromarray(PHOTO).convert("CMYK"), "JPEG"),
    "png": saved(RGBA, "PNG", dpi=(72, 72), icc_profile=icc_profile()),
    "palette png": saved(Image.fromarray(PHOTO).quantize(16), "PNG"),
    "16-bit png": saved((PHOTO[:, :, 0].astype(np.uint16) * 257), "PNG"),
    "webp": saved(RGBA, "WEBP", exif=exif_block(6)),
    "lossless webp": saved(RGBA, "WEBP", lossless=True),
    "animated webp": saved(PHOTO, "WEBP", save_all=True, append_images=[Image.fromarray(PHOTO)]),
    "avif": saved(RGBA, "AVIF", speed=10),
    "tiff": saved(PHOTO, "TIFF", dpi=(72, 72)),
    "lzw tiff": saved(RGBA, "TIFF", compression="tiff_lzw"),
    "jpeg tiff": saved(PHOTO, "TIFF", compression="jpeg"),
    "float tiff": saved(PHOTO[:, :, 0].astype(np.float32), "TIFF"),
    "bmp": saved(PHOTO, "BMP"),
    "palette bmp": saved(Image.fromarray(PHOTO).quantize(16), "BMP"),
    "gif": saved(
        Image.fromarray(PHOTO).quantize(16),
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(PHOTO[::-1]).quantize(16)],
    ),
}
# A trailer holds no pixels: with all of them there the picture is whole.
TRAILER_BYTES = {"gif": 1200, "animated webp": 1200, "tiff": 400, "lzw tiff": 400, "jpeg tiff": 400}


def opened(data: bytes, limits: Limits = LIMITS) -> Decoded:
    return decode(EncodedSource(data), limits, keep_metadata=True)


def rejected_or_right(data: bytes) -> bool:
    """True when `data` was refused with a sentence; anything but a picture or that is a failure."""
    sentence = None
    try:
        result = opened(data)
    except ImageRejected as error:
        sentence = str(error)
    if sentence is not None:
        assert 20 < len(sentence) < 400
        assert "0x7f" not in sentence  # no addresses of objects
        return True
    assert result.rgb.dtype == np.uint8
    assert result.rgb.ndim == 3
    return False


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_at_random_places_is_refused_or_whole(name: str) -> None:
    data = FILES[name]
    rng = np.random.default_rng(len(data))
    lengths = rng.integers(0, len(data), 40)
    refused = [rejected_or_right(data[:length]) for length in lengths]
    last_pixels = len(data) - TRAILER_BYTES.get(name, 16)
    for length, was_refused in zip(lengths, refused, strict=True):
        # Files whose directory or further frames lie at the end are whole before it.
        if not was_refused and "gif" not in name and "tiff" not in name:
            assert length >= last_pixels, f"{name} cut at {length} of {len(data)} was served"
    assert any(refused)


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_random_bytes_flipped_is_refused_or_shown_never_an_error(name: str) -> None:
    data = FILES[name]
    rng = np.random.default_rng(len(data) + 1)
    for round_number in range(120):
        broken = bytearray(data)
        # The first half of the rounds aims at the header, where the numbers are that matter.
        reach = min(len(data), 200) if round_number % 2 else len(data)
        for _ in range(int(rng.integers(1, 6))):
            broken[rng.integers(reach)] = rng.integers(256)
        rejected_or_right(bytes(broken))


@pytest.mark.parametrize(
    "magic", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM"]
)
def test_noise_behind_a_magic_number_is_refused(magic: bytes) -> None:
    rng = np.random.default_rng(3)
    for size in (0, 1, 20, 100, 3000):
        assert rejected_or_right(magic + rng.bytes(size))


@pytest.mark.parametrize("data", [b"", b"a text, no picture", b"%PDF-1.4", b"<html></html>"])
def test_what_is_no_image_is_refused_as_such(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        opened(data)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused_not_filled_with_grey(progressive: bool) -> None:
    data = saved(photo(400, 300), "JPEG", progressive=progressive)
    for share in (0.5, 0.9, 0.99):
        cut = data[: int(len(data) * share)]
        with pytest.raises(ImageDamaged, match="the JPEG is damaged or cut off"):
            opened(cut)
        if not progressive:
            with pytest.raises(ImageDamaged, match="the JPEG is damaged or cut off"):
                opened(cut + b"\xff\xd9")


def test_a_jpeg_that_lacks_nothing_but_its_end_marker_is_served_with_a_note() -> None:
    data = saved(PHOTO, "JPEG")
    whole, without_end = opened(data), opened(data[:-2])
    assert (whole.rgb == without_end.rgb).all()
    assert without_end.notes == ("the JPEG has no end marker; its picture is complete",)


def test_padding_and_bytes_after_a_jpeg_do_not_matter() -> None:
    data = saved(PHOTO, "JPEG")
    whole = opened(data).rgb
    assert (opened(data + b"trailing").rgb == whole).all()
    padded = data[:-2] + bytes(4096) + data[-2:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(padded)
    assert (opened(padded).rgb == whole).all()
    with pytest.raises(ImageDamaged, match="extraneous"):
        opened(data[:-2] + bytes(range(1, 200)) * 20 + data[-2:])


def test_a_jpeg_of_a_thousand_scans_is_refused_before_it_costs_a_minute() -> None:
    data = saved(PHOTO, "JPEG", progressive=True)
    scan = data.rfind(b"\xff\xda")
    many = data[:scan] + data[scan:-2] * 1000 + data[-2:]
    with pytest.raises(ImageDamaged, match="scans, up to 64 are read"):
        opened(many)


def test_a_truncated_png_is_refused() -> None:
    data = saved(PHOTO, "PNG")
    with pytest.raises(ImageDamaged, match=r"chunk IDAT at byte .* holds .* are there"):
        opened(data[: len(data) // 2])
    with pytest.raises(ImageDamaged, match="ends at byte"):
        opened(data[:-12])


def test_a_png_whose_pixel_data_is_too_short_is_refused_with_both_numbers() -> None:
    with pytest.raises(ImageDamaged, match="inflates to 155 bytes, its header promises 310"):
        opened(png_of(10, 10, (b"\0" + bytes(30)) * 5))
    with pytest.raises(ImageDamaged, match="no pixel data"):
        opened(png_of(10, 10, b"")[:33] + chunk(b"IEND", b""))


def test_a_png_with_a_broken_stream_or_checksum_is_refused() -> None:
    data = bytearray(saved(PHOTO, "PNG"))
    data[-30] ^= 0x55
    with pytest.raises(ImageDamaged, match="wrong checksum in chunk IDAT"):
        opened(bytes(data))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
    with pytest.raises(ImageDamaged, match="does not inflate"):
        opened(start + chunk(b"IDAT", b"x\x9cnonsense") + chunk(b"IEND", b""))


def test_without_isal_the_same_pngs_are_read_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_isal = opened(FILES["png"])
    monkeypatch.setattr(deflate, "_isal", None)
    without = opened(FILES["png"])
    assert (without.rgb == with_isal.rgb).all()
    assert without.icc == with_isal.icc
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
    with pytest.raises(ImageDamaged, match="does not inflate"):
        opened(start + chunk(b"IDAT", b"x\x9cnonsense") + chunk(b"IEND", b""))
    with pytest.raises(ImageDamaged, match="inflates to 155 bytes"):
        opened(png_of(10, 10, (b"\0" + bytes(30)) * 5))


def peak_mb(work: Callable[[], object]) -> float:
    """Most memory that Python and NumPy held at once during `work`, in MB."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def grown_mb(work: Callable[[], object]) -> float:
    """How far `work` pushed the resident memory at its peak, C libraries included, in MB."""
    # What earlier tests freed goes back to the kernel first, or `work` would find its memory there.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew here
    before = status_mb("VmRSS:")
    work()
    return status_mb("VmHWM:") - before


def status_mb(field: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(field)[2].split()[0]) / 1e3


def test_the_memory_measure_sees_what_the_bombs_would_take() -> None:
    packed = zlib.compress(bytes(50_000_000))
    assert peak_mb(lambda: zlib.decompress(packed)) > 50
    assert grown_mb(lambda: zlib.decompress(packed)) > 30
    assert grown_mb(lambda: Image.new("RGBA", (4000, 4000), 5)) > 30


def test_a_png_whose_pixel_data_inflates_to_more_than_its_header_says_takes_no_memory() -> None:
    bomb = png_of(10, 10, (b"\0" + bytes(range(30))) * 10 + bytes(200_000_000))
    results: list[Decoded] = []
    assert peak_mb(lambda: results.append(opened(bomb))) < 10
    assert grown_mb(lambda: results.append(opened(bomb))) < 20
    assert results[0].rgb[9, 9].tolist() == [27, 28, 29]


def test_text_and_profile_bombs_in_a_png_take_no_memory() -> None:
    packed = zlib.compress(bytes(300_000_000))
    before_pixels = b"".join(
        [
            chunk(b"iCCP", b"name\0\0" + packed),
            chunk(b"zTXt", b"comment\0\0" + packed) * 3,
            chunk(b"iTXt", b"comment\0\1\0\0\0" + packed),
        ]
    )
    bomb = png_of(10, 10, (b"\0" + bytes(30)) * 10, before=before_pixels)
    results: list[Decoded] = []
    assert peak_mb(lambda: results.append(opened(bomb))) < 20
    assert grown_mb(lambda: opened(bomb)) < 30
    assert results[0].icc is None
    assert results[0].notes == ("the ICC profile is larger than 4 MiB and was not kept",)


@pytest.mark.parametrize("kind", ["png", "webp", "gif", "bmp", "tiff", "jpeg"])
def test_a_tiny_file_that_claims_a_gigapixel_is_refused_before_memory_is_taken(kind: str) -> None:
    bomb = {
        "png": png_of(40000, 30000, b"\0" * 100),
        "webp": b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x3f\x9c\0\x2f\x75\0" + bytes(70),
        "gif": b"GIF89a" + struct.pack("<HH", 40000, 30000) + b"\0\0\0;",
        "bmp": b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 40000, 30000, 1, 24) + bytes(100),
        "tiff": tiff_of([(256, 4, 1, 40000), (257, 4, 1, 30000)]),
        "jpeg": b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 30000, 40000) + b"\3" + bytes(9),
    }[kind]
    if kind == "jpeg":
        bomb += b"\xff\xda"
    assert len(bomb) < 250

    def refused() -> None:
        with pytest.raises(ImageTooLarge, match=r"40000x30000 \(1200.0 MP\), this server takes up"):
            opened(bomb)

    assert peak_mb(refused) < 5


def test_an_avif_larger_than_the_limit_is_refused_by_its_header() -> None:
    data = saved(photo(300, 200), "AVIF", speed=10)
    with pytest.raises(ImageTooLarge, match=r"image is 300x200 \(0.1 MP\)"):
        opened(data, Limits(0.05, 16384))


def test_a_gif_whose_first_frame_is_larger_than_its_screen_meets_the_limits_again() -> None:
    data = bytearray(saved(photo(40, 30), "GIF"))
    image = data.find(b"\x2c\0\0\0\0")
    struct.pack_into("<HH", data, image + 5, 60000, 60000)
    assert rejected_or_right(bytes(data))


def test_pillows_own_pixel_limit_does_not_stand_before_ours() -> None:
    canvas = b"\x7f\x3e\0\x7f\x3e\0"  # 16000x16000 less 1 each: 256 MP, Pillow's limit is 179
    data = b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas + bytes(70)
    with pytest.raises(ImageDamaged, match="could not create decoder"):
        opened(data, Limits(1000, 20000))


def test_what_opencv_says_about_a_bad_tiff_does_not_reach_stderr(
    capfd: pytest.CaptureFixture[str],
) -> None:
    size = [(256, 4, 1, 9), (257, 4, 1, 9)]
    for bits, kind in ((64, 3), (16, 3), (24, 1), (0, 0)):
        with pytest.raises(ImageRejected, match="save it as RGB or grey with 8 or 16 bits"):
            opened(tiff_of([*size, (258, 3, 1, bits), (339, 3, 1, kind)]))
    assert capfd.readouterr().err == ""


def test_a_tiff_whose_entries_share_their_bytes_is_refused_before_they_are_read() -> None:
    size = [(256, 4, 1, 10), (257, 4, 1, 10)]
    entries = [(tag, 7, 1_000_000, 8) for tag in range(40000, 40500)]
    bomb = tiff_of(size + entries, bytes(1_000_000))

    def refused() -> None:
        with pytest.raises(ImageDamaged, match="its directory claims 500000008 bytes of values"):
            opened(bomb)

    assert peak_mb(refused) < 5


def test_a_tiff_with_giant_tiles_around_a_small_picture_is_refused() -> None:
    size = [(256, 4, 1, 10), (257, 4, 1, 10), (322, 4, 1, 1_000_000), (323, 4, 1, 1_000_000)]
    with pytest.raises(ImageDamaged, match="tiles of 1000000 px in 10x10"):
        opened(tiff_of(size))


def test_a_large_tiff_of_rare_samples_is_refused_before_memory_is_taken() -> None:
    tags = [(256, 4, 1, 5000), (257, 4, 1, 5000), (258, 3, 1, 64), (339, 3, 1, 3), (277, 3, 1, 1)]
    tags += [(259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (278, 4, 1, 5000), (279, 4, 1, 8)]
    with pytest.raises(ImageTooLarge, match="rare kind of samples, which is read up to 16 MP"):
        opened(tiff_of(tags))


def test_many_threads_decode_at_once_and_each_gets_its_own_answer() -> None:
    expected = {name: opened(data) for name, data in FILES.items()}

    def work(number: int) -> bool:
        name = list(FILES)[number % len(FILES)]
        if number % 3 == 0:
            return rejected_or_right(FILES[name][: 100 + number]) or "gif" in name
        result = opened(FILES[name])
        return bool((result.rgb == expected[name].rgb).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))


def test_refusing_is_quick() -> None:
    began = time.monotonic()
    for data in FILES.values():
        rejected_or_right(data[: len(data) // 2])
    assert time.monotonic() - began < 2
