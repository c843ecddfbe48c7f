from __future__ import annotations

import io

import numpy as np
import pytest

from mattestream.errors import BadImage, InvalidRequest
from mattestream.keywords import FORMATS, OUTPUTS
from mattestream.picture import build_image
from mattestream.request import build_options, build_stream_config
from mattestream.v1 import image_pb2, options_pb2, removal_pb2


def test_no_keyword_gives_the_empty_message_so_that_defaults_are_the_servers():
    assert build_options() == options_pb2.RemoveOptions()


def test_every_keyword_reaches_its_field():
    message = build_options(
        model="m",
        output="composite",
        format="webp",
        quality=70,
        background="#fff",
        keep_metadata=True,
    )
    assert message == options_pb2.RemoveOptions(
        model="m",
        output=options_pb2.OUTPUT_COMPOSITE,
        format=options_pb2.FORMAT_WEBP,
        quality=70,
        background=options_pb2.Background(color="#fff"),
        keep_metadata=True,
    )


def test_a_composite_without_a_background_is_white():
    assert build_options(output="composite").background.color == "white"


def test_a_cutout_gets_no_background_unasked():
    assert not build_options(output="cutout").HasField("background")


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"output": "cut-out"}, "output is 'cut-out', known are cutout, alpha, composite"),
        ({"format": "bmp"}, "format is 'bmp'"),
        ({"format": ["png"]}, "format is"),
        ({"quality": 0}, "quality is 0"),
        ({"quality": 2**40}, "quality is"),
        ({"quality": "high"}, "quality is 'high'"),
    ],
)
def test_a_value_that_no_message_can_hold_is_refused_with_what_is_allowed(keywords, words):
    with pytest.raises(InvalidRequest, match=words.replace("[", r"\[")):
        build_options(**keywords)


def test_a_ready_message_goes_through_as_it_is():
    message = options_pb2.RemoveOptions(edges=options_pb2.Edges(feather_px=2))
    assert build_options(options=message) is message


@pytest.mark.parametrize("keyword", [{"model": "m"}, {"keep_metadata": True}])
def test_a_ready_message_and_a_keyword_exclude_each_other(keyword):
    with pytest.raises(InvalidRequest, match="options= came together"):
        build_options(options=options_pb2.RemoveOptions(), **keyword)


def test_every_built_name_of_the_contract_has_a_keyword_value():
    named = {f"OUTPUT_{name.upper()}".replace("_RLE", "_MASK_RLE") for name in OUTPUTS}
    assert named == set(options_pb2.Output.keys()) - {"OUTPUT_UNSPECIFIED"}
    assert {f"FORMAT_{name.upper()}" for name in FORMATS} == set(options_pb2.Format.keys()) - {
        "FORMAT_UNSPECIFIED"
    }


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_bytes_in_any_coat_are_an_encoded_image(kind):
    assert build_image(kind(b"picture")).encoded == b"picture"


def test_a_path_is_read_as_text_and_as_path(tmp_path):
    path = tmp_path / "in.jpg"
    path.write_bytes(b"picture")
    assert build_image(path) == build_image(str(path)) == image_pb2.Image(encoded=b"picture")


def test_a_file_that_is_not_there_is_a_bad_image_with_its_name(tmp_path):
    with pytest.raises(BadImage, match=r"cannot read .*gone\.jpg: No such file"):
        build_image(tmp_path / "gone.jpg")


def test_a_file_opened_as_text_is_refused_with_the_cure():
    with pytest.raises(BadImage, match="open it in binary mode"):
        build_image(io.StringIO("x"))


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ((4, 6), "PIXEL_FORMAT_GRAY8"),
        ((4, 6, 1), "PIXEL_FORMAT_GRAY8"),
        ((4, 6, 3), "PIXEL_FORMAT_RGB8"),
        ((4, 6, 4), "PIXEL_FORMAT_RGBA8"),
    ],
)
def test_an_array_goes_as_raw_pixels_of_its_channels(shape, name):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    raw = build_image(pixels).raw
    assert image_pb2.PixelFormat.Name(raw.layout.format) == name
    assert (raw.layout.width, raw.layout.height, raw.data) == (6, 4, pixels.tobytes())


def test_an_array_that_is_not_contiguous_goes_in_reading_order():
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)[:, ::-1]
    assert build_image(pixels).raw.data == np.ascontiguousarray(pixels).tobytes()


@pytest.mark.parametrize(
    "array", [np.zeros((4, 6, 3), np.float32), np.zeros((4, 6, 2), np.uint8), np.zeros(5, np.uint8)]
)
def test_an_array_of_another_kind_is_refused_with_its_shape(array):
    with pytest.raises(BadImage, match="give uint8 of"):
        build_image(array)


def test_something_else_is_refused_by_its_type():
    with pytest.raises(BadImage, match="cannot take a int for an image"):
        build_image(3)


def test_a_ready_image_message_goes_through_for_nv12_and_friends():
    layout = image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_NV12, width=2, height=2)
    message = image_pb2.Image(raw=image_pb2.RawImage(layout=layout, data=bytes(6)))
    assert build_image(message) is message


def test_a_stream_config_carries_options_window_and_delivery():
    message = build_stream_config({"output": "alpha"}, window=3, delivery="latest")
    assert message.config.window == 3
    assert message.config.delivery == removal_pb2.DELIVERY_LATEST
    assert message.config.options.output == options_pb2.OUTPUT_ALPHA


def test_a_negative_window_is_refused():
    with pytest.raises(InvalidRequest, match="window is -1"):
        build_stream_config({}, window=-1, delivery="in_order")
