from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mattestream.errors import MattestreamError
from mattestream.png import read_pixels
from server.codecs.png import write_png

MIXES = [[0, 0, 0], [1, 2, 2], [2, 1, 0], [0, 2, 1], [1, 1, 2], [2, 2, 2]]
SHAPES = [(1, 1), (17, 33), (17, 33, 3), (17, 33, 4), (1, 5, 4), (5, 1, 4)]


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def png_with_filters(
    pixels: np.ndarray, filters: list[int], written_as: dict[int, int] | None = None
) -> bytes:
    """A PNG whose rows use these filters; written here by the definition, row by row."""
    height, width, channels = pixels.shape
    rows = []
    for y, kind in enumerate(filters):
        row = pixels[y].astype(int)
        left = np.vstack([np.zeros((1, channels), int), row[:-1]])
        above = pixels[y - 1].astype(int) if y else np.zeros_like(row)
        coded = row - {0: np.zeros_like(row), 1: left, 2: above}[kind]
        rows.append(
            bytes([(written_as or {}).get(kind, kind)]) + (coded % 256).astype(np.uint8).tobytes()
        )
    colour = {3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    packed = zlib.compress(b"".join(rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", packed[:9])
        + chunk(b"IDAT", packed[9:])
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_what_the_server_writes_is_read_back_exactly(shape):
    pixels = noise(shape)
    np.testing.assert_array_equal(read_pixels(write_png(pixels)), pixels)


@pytest.mark.parametrize(
    "filters", [[0, 0, 0], [1, 2, 2], [2, 1, 0], [0, 2, 1], [1, 1, 2], [2, 2, 2]]
)
@pytest.mark.parametrize("channels", [3, 4])
def test_every_mix_of_running_sum_filters_is_undone(filters, channels):
    pixels = noise((3, 7, channels))
    data = png_with_filters(pixels, filters)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)  # a fair test
    np.testing.assert_array_equal(read_pixels(data), pixels)


@pytest.mark.parametrize("foreign", [3, 4])  # average and Paeth
def test_filters_that_are_no_running_sum_are_refused_not_misread(foreign):
    data = png_with_filters(noise((3, 7, 3)), [2, 0, 2], written_as={0: foreign})
    with pytest.raises(MattestreamError, match="image library"):
        read_pixels(data)


@pytest.mark.parametrize("cut", [10, 30, 60, -15])
def test_a_cut_off_file_is_refused(cut):
    with pytest.raises(MattestreamError, match="damaged"):
        read_pixels(write_png(noise((17, 33, 4)))[:cut])


def test_a_palette_png_is_refused():
    buffer = io.BytesIO()
    Image.fromarray(noise((4, 4))).convert("P").save(buffer, "PNG")
    with pytest.raises(MattestreamError, match="does not write"):
        read_pixels(buffer.getvalue())


def test_other_bytes_are_refused():
    with pytest.raises(MattestreamError, match="not a PNG"):
        read_pixels(b"GIF89a")
