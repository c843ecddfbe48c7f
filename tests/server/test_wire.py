"""Requests that are no message, or that hold more than this server knows: refused by every method,
with an id, a log line and a sentence.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from google.protobuf.message import Message
from structlog.testing import capture_logs

from mattestream.v1 import image_pb2, models_pb2, options_pb2, removal_pb2
from server.option_rules import NotBuilt
from server.wire import refuse_unknown_fields
from tests.server.fakes import config_message, eventually, frame_message, picture, request
from tests.server.serving import Served

REMOVAL = "/mattestream.v1.BackgroundRemovalService/"
MODELS = "/mattestream.v1.ModelsService/"
UNKNOWN = b"\x9a\x3e\x03new"  # field 995, three bytes
DAMAGED = b"\x0a\xff\xff\xff\xff\x0f"  # field 1 claims more bytes than there are


def with_unknown(message: Message) -> Message:
    """`message` as a newer client sends it."""
    message.MergeFromString(UNKNOWN)
    return message


def raw_image(*, part: str) -> image_pb2.Image:
    """Pixels with an unknown field in `part` of their message."""
    image = image_pb2.Image(
        raw=image_pb2.RawImage(
            layout=image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_GRAY8, width=2, height=2),
            data=b"grey",
        )
    )
    with_unknown(image.raw.layout if part == "layout" else image.raw)
    return image


def image_with_unknown() -> image_pb2.Image:
    image = image_pb2.Image(encoded=picture())
    with_unknown(image)
    return image


def edges_with_unknown() -> options_pb2.RemoveOptions:
    options = options_pb2.RemoveOptions(edges=options_pb2.Edges())
    with_unknown(options.edges)
    return options


REQUESTS: list[tuple[str, Callable[[], Message], str]] = [
    (REMOVAL + "Remove", lambda: with_unknown(request()), "RemoveRequest"),
    (REMOVAL + "Remove", lambda: removal_pb2.RemoveRequest(image=image_with_unknown()), "image"),
    (
        REMOVAL + "Remove",
        lambda: removal_pb2.RemoveRequest(image=raw_image(part="raw")),
        "image.raw",
    ),
    (
        REMOVAL + "Remove",
        lambda: removal_pb2.RemoveRequest(image=raw_image(part="layout")),
        "image.raw.layout",
    ),
    (REMOVAL + "Remove", lambda: request(options=edges_with_unknown()), "options.edges"),
    (REMOVAL + "Segment", lambda: with_unknown(removal_pb2.SegmentRequest()), "SegmentRequest"),
    (MODELS + "ListModels", lambda: with_unknown(models_pb2.ListModelsRequest()), "ListModels"),
    (MODELS + "GetModel", lambda: with_unknown(models_pb2.GetModelRequest(name="tiny")), "GetMod"),
    (MODELS + "LoadModel", lambda: with_unknown(models_pb2.LoadModelRequest(name="tiny")), "LoadM"),
    (MODELS + "UnloadModel", lambda: with_unknown(models_pb2.UnloadModelRequest()), "UnloadModel"),
]


@pytest.mark.parametrize(("method", "make", "where"), REQUESTS, ids=[case[2] for case in REQUESTS])
async def test_a_field_of_a_newer_contract_is_refused_not_ignored(
    served: Served, method: str, make: Callable[[], Message], where: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.channel.unary_unary(method)(make().SerializeToString())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert f"field 995 of {where}" in str(caught.value.details())


def test_an_unknown_field_in_a_list_is_found_too() -> None:
    options = options_pb2.RemoveOptions()
    with_unknown(options.subject.points.add())
    with pytest.raises(NotBuilt, match=r"field 995 of subject\.points"):
        refuse_unknown_fields(options)


@pytest.mark.parametrize("part", ["message", "config"])
async def test_an_unknown_field_in_a_streams_config_ends_the_stream(
    served: Served, part: str
) -> None:
    message = config_message(window=1)
    with_unknown(message if part == "message" else message.config)
    stream = served.removal.RemoveStream()
    await stream.write(message)
    assert await stream.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "field 995 of" in await stream.details()


async def test_an_unknown_field_in_a_frame_is_that_frames_error(served: Served) -> None:
    stream = served.removal.RemoveStream()
    await stream.write(config_message())
    await stream.read()
    broken = [frame_message(frame_id) for frame_id in range(3)]
    with_unknown(broken[0])
    with_unknown(broken[1].frame)
    with_unknown(broken[2].frame.image)
    for message in (*broken, frame_message(3)):
        await stream.write(message)
    await stream.done_writing()
    answers = [(await stream.read()).frame for _ in range(4)]
    assert [answer.WhichOneof("outcome") for answer in answers] == ["error"] * 3 + ["result"]
    for answer, where in zip(
        answers, ("RemoveStreamRequest", "frame", "frame.image"), strict=False
    ):
        assert answer.error.code == grpc.StatusCode.UNIMPLEMENTED.value[0]
        assert f"field 995 of {where}," in answer.error.message


@pytest.mark.parametrize("method", [REMOVAL + "Remove", MODELS + "GetModel"])
async def test_bytes_that_are_no_message_are_told_so_like_any_bad_request(
    served: Served, method: str
) -> None:
    name = method.rpartition("/")[2]
    with capture_logs() as lines:
        call = served.channel.unary_unary(method)(DAMAGED, metadata=(("x-request-id", "dam"),))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        await eventually(lambda: len(lines) == 1, "it is logged")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"the 6 bytes are not a protobuf message of the kind that {name} takes" in str(
        caught.value.details()
    )
    assert dict(await call.trailing_metadata())["x-request-id"] == "dam"
    assert (lines[0]["event"], lines[0]["code"]) == ("call done", "INVALID_ARGUMENT")
    counted = f'mattestream_requests_total{{code="INVALID_ARGUMENT",method="{name}"}} 1.0'
    assert counted in served.app.metrics.text()


@pytest.mark.parametrize("frames", [0, 2])
async def test_damaged_bytes_end_a_stream_after_the_frames_before_them(
    served: Served, frames: int
) -> None:
    with capture_logs() as lines:
        stream = served.channel.stream_stream(
            REMOVAL + "RemoveStream",
            response_deserializer=removal_pb2.RemoveStreamResponse.FromString,
        )()
        if frames:
            await stream.write(config_message().SerializeToString())
            await stream.read()
        for frame_id in range(frames):
            await stream.write(frame_message(frame_id).SerializeToString())
        await stream.write(DAMAGED)
        for frame_id in range(frames):
            assert (await stream.read()).frame.frame_id == frame_id
        assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "not a protobuf message" in await stream.details()
        await eventually(lambda: any(line["event"] == "call done" for line in lines), "logged")
    assert not [line for line in lines if line["log_level"] == "error"]
