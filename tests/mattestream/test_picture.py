"""Whatever a caller has of a picture becomes a message, or a sentence that says what would."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mattestream import raw_image
from mattestream.errors import BadImage, InvalidRequest
from mattestream.picture import build_image
from mattestream.v1 import image_pb2

RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.mark.parametrize(
    ("mode", "sent"),
    [
        ("RGB", "PIXEL_FORMAT_RGB8"),
        ("RGBA", "PIXEL_FORMAT_RGBA8"),
        ("L", "PIXEL_FORMAT_GRAY8"),
        ("LA", "PIXEL_FORMAT_RGBA8"),
        ("P", "PIXEL_FORMAT_RGB8"),
        ("1", "PIXEL_FORMAT_RGB8"),
        ("CMYK", "PIXEL_FORMAT_RGB8"),
    ],
)
def test_a_pillow_image_of_any_mode_goes_as_its_pixels(mode, sent):
    image = Image.fromarray(RGB).convert(mode)
    raw = build_image(image).raw
    assert image_pb2.PixelFormat.Name(raw.layout.format) == sent
    assert (raw.layout.width, raw.layout.height) == (6, 4)
    channels = {"PIXEL_FORMAT_GRAY8": "L", "PIXEL_FORMAT_RGB8": "RGB"}.get(sent, "RGBA")
    assert raw.data == image.convert(channels).tobytes()


def test_a_pillow_image_that_is_still_a_cut_off_file_is_a_bad_image():
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    with pytest.raises(BadImage, match="the Pillow image cannot be read"):
        build_image(Image.open(io.BytesIO(buffer.getvalue()[:2000])))


@pytest.mark.parametrize(
    ("order", "shape", "sent"),
    [
        ("bgr", (4, 6, 3), "PIXEL_FORMAT_BGR8"),
        ("rgba", (4, 6, 4), "PIXEL_FORMAT_RGBA8"),
        ("gray", (4, 6), "PIXEL_FORMAT_GRAY8"),
        ("nv12", (6, 6), "PIXEL_FORMAT_NV12"),
        ("i420", (6, 6), "PIXEL_FORMAT_I420"),
    ],
)
def test_samples_in_another_order_go_as_they_are_called(order, shape, sent):
    samples = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    raw = raw_image(samples, order).raw
    assert image_pb2.PixelFormat.Name(raw.layout.format) == sent
    assert (raw.layout.width, raw.layout.height, raw.data) == (6, 4, samples.tobytes())


@pytest.mark.parametrize(
    ("order", "shape", "words"),
    [
        ("bgr", (4, 6, 4), r"uint8 \(4, 6, 4\): give uint8 of \(H, W, 3\) for bgr"),
        ("gray", (4, 6, 3), r"give uint8 of \(H, W\) for gray"),
        ("nv12", (4, 6), r"3 rows of nv12 for 2"),
        ("nv12", (6, 5), r"3 rows of nv12 for 2"),
        ("i420", (6, 6, 3), r"give uint8 of \(H \* 3 / 2, W\) for i420"),
        (None, (2, 4, 6, 3), r"give uint8 of \(H, W\), .* mattestream\.raw_image"),
    ],
)
def test_samples_of_another_shape_are_refused_with_the_right_one(order, shape, words):
    with pytest.raises(BadImage, match=words):
        raw_image(np.zeros(shape, np.uint8), order)


def test_an_order_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(InvalidRequest, match="order is 'brg', known are rgb, bgr"):
        raw_image(RGB, "brg")  # type: ignore[arg-type]


def test_a_file_opened_as_text_is_refused_before_a_byte_is_read(tmp_path: Path):
    (tmp_path / "in.jpg").write_bytes(b"\xff\xd8\xff\xe0")  # no text in any encoding of ours
    with (tmp_path / "in.jpg").open(encoding="utf-8") as file:
        with pytest.raises(BadImage, match=r"open it in binary mode \('rb'\)"):
            build_image(file)  # type: ignore[arg-type]
        assert file.tell() == 0


@pytest.mark.parametrize("text", ["https://example.com/a.jpg", "data:image/png;base64,AAAA"])
def test_an_address_in_the_place_of_a_path_is_told_to_be_none(text):
    with pytest.raises(BadImage, match="an address is not fetched, give the picture's bytes"):
        build_image(text)


def test_a_text_that_is_far_too_long_for_a_path_is_not_repeated_in_full():
    with pytest.raises(BadImage, match=r"cannot read x{200}\.\.\.: ") as caught:
        build_image("x" * 100_000)
    assert len(str(caught.value)) < 400
