"""One image over the wire: the answer, the report, the ids."""

from __future__ import annotations

import io

import grpc
import numpy as np
import pytest
from PIL import Image

from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from tests.server.fakes import eventually, picture, request
from tests.server.serving import Serve, Served


async def test_a_photo_comes_back_as_a_cutout_png_of_its_own_size(served: Served) -> None:
    reply = await served.removal.Remove(request(picture(96, 64)))
    assert reply.result.encoded.media_type == "image/png"
    rgba = np.asarray(Image.open(io.BytesIO(reply.result.encoded.data)))
    assert rgba.shape == (64, 96, 4)
    assert rgba[32, 5, 3] == 0
    assert rgba[32, 90, 3] == 255
    assert (reply.result.width, reply.result.height) == (96, 64)


async def test_the_report_says_what_ran_and_where_the_time_went(served: Served) -> None:
    report = (await served.removal.Remove(request(picture(96, 64)))).report
    assert report.model.name == "tiny"
    assert len(report.model.weights_sha256) == 64
    assert report.model.device == "cpu"
    assert report.batch_size == 1
    assert (report.source_width, report.source_height, report.source_format) == (96, 64, "jpeg")
    assert abs(report.subject_box.left - 48) <= 4
    assert report.coverage == pytest.approx(0.5, abs=0.05)
    assert not report.no_subject
    assert report.copies.host_to_device == 0
    timed = {field.name: value for field, value in report.timings.ListFields()}
    del timed["total_ms"]
    # An image that no batch is formed for waits for none.
    assert set(timed) - {"batch_wait_ms"} == {
        f"{stage}_ms" for stage in ("queue", "decode", "prepare", "infer", "finish", "encode")
    }
    stages = list(timed.values())
    assert all(value >= 0 for value in stages)
    assert sum(stages) <= report.timings.total_ms


async def test_a_picture_without_a_subject_says_so(served: Served) -> None:
    black = image_pb2.Image(
        raw=image_pb2.RawImage(
            layout=image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_RGB8, width=40, height=30),
            data=bytes(40 * 30 * 3),
        )
    )
    report = (await served.removal.Remove(removal_pb2.RemoveRequest(image=black))).report
    assert report.no_subject
    assert not report.HasField("subject_box")
    assert report.source_format == "raw"


async def test_a_raw_alpha_comes_back_as_pixels_with_their_layout(served: Served) -> None:
    options = options_pb2.RemoveOptions(
        output=options_pb2.OUTPUT_ALPHA, format=options_pb2.FORMAT_RAW
    )
    raw = (await served.removal.Remove(request(picture(96, 64), options))).result.raw
    assert raw.layout.format == image_pb2.PIXEL_FORMAT_GRAY8
    assert (raw.layout.width, raw.layout.height, len(raw.data)) == (96, 64, 96 * 64)


async def test_a_composite_as_jpeg_shows_the_background(served: Served) -> None:
    options = options_pb2.RemoveOptions(
        output=options_pb2.OUTPUT_COMPOSITE,
        format=options_pb2.FORMAT_JPEG,
        background=options_pb2.Background(color="red"),
    )
    reply = await served.removal.Remove(request(picture(96, 64), options))
    red, green, blue = Image.open(io.BytesIO(reply.result.encoded.data)).getpixel((5, 32))
    assert red > 240
    assert max(green, blue) < 20


async def test_the_callers_request_id_is_kept_and_handed_back(served: Served) -> None:
    call = served.removal.Remove(request(), metadata=(("x-request-id", "order-17/img_3"),))
    assert (await call).report.request_id == "order-17/img_3"
    assert ("x-request-id", "order-17/img_3") in tuple(await call.initial_metadata())


@pytest.mark.parametrize("wild", ["", "a b", "x" * 129, 'a"b'])
async def test_a_request_id_unfit_for_a_log_line_is_replaced(served: Served, wild: str) -> None:
    metadata = (("x-request-id", wild),)
    report = (await served.removal.Remove(request(), metadata=metadata)).report
    assert report.request_id != wild
    assert len(report.request_id) == 16


async def test_an_error_carries_the_request_id_in_its_trailers_only(served: Served) -> None:
    # Initial metadata would tell the client's retry policy that the call has begun to answer.
    call = served.removal.Remove(request(b"no image"), metadata=(("x-request-id", "abc"),))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert ("x-request-id", "abc") in tuple(caught.value.trailing_metadata())
    assert "x-request-id" not in dict(caught.value.initial_metadata())


async def test_an_answer_holds_no_memory_once_it_is_delivered(served: Served) -> None:
    await served.removal.Remove(request(picture(400, 300)))
    admission = served.app.admission
    await eventually(lambda: admission.images == admission.bytes == 0, "permits are back")


async def test_an_answer_far_larger_than_its_request_gets_through(serve: Serve) -> None:
    options = options_pb2.RemoveOptions(format=options_pb2.FORMAT_RAW)
    async with serve(max_message_mb=1) as served:
        reply = await served.removal.Remove(request(picture(2000, 1500), options))
    assert len(reply.result.raw.data) == 2000 * 1500 * 4


async def test_a_message_over_the_limit_is_refused_by_grpc_itself(serve: Serve) -> None:
    async with serve(max_message_mb=1) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Remove(request(bytes(1_100_000)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in str(caught.value.details())
        await served.removal.Remove(request())


async def test_a_bug_of_ours_is_internal_error_with_the_id_and_no_details(served: Served) -> None:
    served.registry.engines["tiny"].error = ZeroDivisionError("secret path /etc")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.removal.Remove(request(), metadata=(("x-request-id", "bug-1"),))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "internal error, request bug-1"
    served.registry.engines["tiny"].error = None
    await served.removal.Remove(request())
