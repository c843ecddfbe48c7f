from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from mattestream.errors import (
    InvalidRequest,
    MattestreamError,
    ModelNotFound,
    Overloaded,
    ServerError,
)
from mattestream.reply import FrameFailed, Removal, frame_outcome, removal
from mattestream.v1 import image_pb2, removal_pb2, report_pb2

PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def raw_response(data: bytes, **fields: object) -> removal_pb2.RemoveResponse:
    layout = image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_RGBA8, width=3, height=2)
    raw = image_pb2.RawImage(layout=layout, data=data, **fields)
    return removal_pb2.RemoveResponse(result=image_pb2.Result(raw=raw, width=3, height=2))


def file_response(media_type: str) -> removal_pb2.RemoveResponse:
    encoded = image_pb2.EncodedImage(media_type=media_type, data=b"file")
    return removal_pb2.RemoveResponse(result=image_pb2.Result(encoded=encoded, width=3, height=2))


def test_raw_pixels_become_an_array_of_their_shape():
    np.testing.assert_array_equal(removal(raw_response(PIXELS.tobytes())).array(), PIXELS)


def test_zlib_pixels_are_unpacked():
    packed = zlib.compress(PIXELS.tobytes())
    result = removal(raw_response(packed, compression=image_pb2.COMPRESSION_ZLIB))
    np.testing.assert_array_equal(result.array(), PIXELS)


def test_a_grey_result_has_two_axes():
    layout = image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_GRAY8, width=3, height=2)
    raw = image_pb2.RawImage(layout=layout, data=bytes(6))
    response = removal_pb2.RemoveResponse(result=image_pb2.Result(raw=raw, width=3, height=2))
    assert removal(response).array().shape == (2, 3)


@pytest.mark.parametrize("data", [bytes(23), bytes(25)])
def test_pixels_of_the_wrong_length_are_the_servers_fault(data):
    with pytest.raises(ServerError, match="3x2 with 4 channels takes 24"):
        removal(raw_response(data))


def test_a_zlib_bomb_is_not_unpacked_beyond_the_layout():
    packed = zlib.compress(bytes(50_000_000))
    with pytest.raises(ServerError, match="are 25 bytes"):
        removal(raw_response(packed, compression=image_pb2.COMPRESSION_ZLIB))


def test_an_empty_answer_is_the_servers_fault_and_carries_its_id():
    response = removal_pb2.RemoveResponse(report=report_pb2.Report(request_id="7f3a"))
    with pytest.raises(ServerError, match="answered with no data") as caught:
        removal(response)
    assert caught.value.request_id == "7f3a"


@pytest.mark.parametrize(
    ("media_type", "extension"),
    [
        ("image/png", ".png"),
        ("image/jpeg", ".jpg"),
        ("image/webp", ".webp"),
        ("application/zip", ".zip"),
    ],
)
def test_a_file_knows_its_ending(media_type, extension):
    assert removal(file_response(media_type)).extension == extension


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_every_picture_file_opens_as_an_array(kind):
    pixels = np.full((4, 6, 3), 200, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    result = Removal(file.getvalue(), f"image/{kind}", 6, 4, report_pb2.Report())
    np.testing.assert_allclose(result.array().astype(int), pixels, atol=3)


def test_a_zip_has_no_array_and_says_what_has_one():
    with pytest.raises(MattestreamError, match=r"open \.data with zipfile"):
        removal(file_response("application/zip")).array()


def test_a_damaged_file_has_no_array():
    with pytest.raises(MattestreamError, match="image/png is damaged"):
        removal(file_response("image/png")).array()


def make(data: bytes = b"file") -> Removal:
    return Removal(data, "image/png", 3, 2, report_pb2.Report())


def test_save_replaces_a_file_and_leaves_nothing_else_behind(tmp_path):
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    make(b"new").save(target)
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["out.jpg", "out.JPEG", "out.webp", "out.zip"])
def test_save_refuses_a_name_that_says_another_kind_of_file(name, tmp_path):
    with pytest.raises(InvalidRequest, match=r"the result is image/png, .* or name it out\.png"):
        make().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out", "out.bin", "out.PNG", "v1.2"])
def test_save_takes_every_name_that_says_nothing_else(name, tmp_path):
    make().save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"file"


def test_raw_pixels_are_not_saved_as_a_picture(tmp_path):
    pixels = Removal(b"\0" * 6, "", 3, 2, report_pb2.Report(), channels=1)
    with pytest.raises(InvalidRequest, match="the result is raw pixels"):
        pixels.save(tmp_path / "out.png")


def test_a_result_shows_itself_without_its_megabytes():
    assert repr(make(b"x" * 10**6)) == "<Removal 3x2 image/png, 1000000 bytes, frame 0>"


class OnAGpu:
    """An array that cannot be turned into bytes here, as PyTorch's cannot."""


def test_a_result_on_a_gpu_is_not_saved_but_told_how_and_shows_its_size(tmp_path):
    there = Removal(b"", "", 3, 2, report_pb2.Report(), channels=4, pixels=OnAGpu())
    with pytest.raises(InvalidRequest, match=r"bring \.pixels to the host"):
        there.save(tmp_path / "out.raw")
    assert repr(there) == "<Removal 3x2 shared pixels, 24 bytes, frame 0>"


def test_save_writes_into_an_open_file():
    file = io.BytesIO()
    make().save(file)
    assert file.getvalue() == b"file"


def test_a_save_that_fails_leaves_no_part_behind(tmp_path):
    target = tmp_path / "folder.png"
    target.mkdir()
    with pytest.raises(OSError, match=r"folder\.png"):
        make().save(target)
    assert list(tmp_path.iterdir()) == [target]


def test_a_frame_result_keeps_the_callers_numbers():
    message = removal_pb2.FrameResult(frame_id=7, pts=-3, dropped_before=2)
    message.result.CopyFrom(file_response("image/png").result)
    outcome = frame_outcome(message)
    assert isinstance(outcome, Removal)
    assert (outcome.frame_id, outcome.pts, outcome.dropped_before) == (7, -3, 2)


def test_a_frame_error_is_what_remove_would_have_raised():
    message = removal_pb2.FrameResult(
        frame_id=7,
        error=removal_pb2.Error(code=5, message="no such model"),
        report=report_pb2.Report(request_id="7f3a"),
    )
    outcome = frame_outcome(message)
    assert isinstance(outcome, FrameFailed)
    assert type(outcome.error) is ModelNotFound
    assert (str(outcome.error), outcome.error.request_id) == ("no such model", "7f3a")


def test_a_frame_error_says_when_to_come_back():
    message = removal_pb2.FrameResult(
        error=removal_pb2.Error(code=8, message="full", retry_after_ms=250)
    )
    outcome = frame_outcome(message)
    assert isinstance(outcome, FrameFailed)
    assert isinstance(outcome.error, Overloaded)
    assert outcome.error.retry_after_s == 0.25
