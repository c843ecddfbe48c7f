"""Streams over the wire: order, the window, errors of single frames, clients that misbehave."""

from __future__ import annotations

import grpc
import pytest
from structlog.testing import capture_logs

from mattestream.v1 import models_pb2, options_pb2, removal_pb2
from tests.server.fakes import config_message, eventually, frame_message, picture, request
from tests.server.serving import Serve, Served
from tests.server.streaming import ending, open_stream, read_all


async def test_the_config_is_answered_with_what_the_stream_will_use(served: Served) -> None:
    stream, started = await open_stream(served, window=2)
    assert started.window == 2
    assert started.model.name == "tiny"
    assert started.stream_id == dict(await stream.initial_metadata())["x-request-id"]
    await stream.done_writing()
    assert await read_all(stream) == []
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_window_larger_than_the_servers_is_cut_to_it(serve: Serve) -> None:
    async with serve(stream_window=3) as served:
        stream, started = await open_stream(served, window=100)
        assert started.window == 3
        stream.cancel()


async def test_frames_are_answered_in_order_with_their_id_and_pts(served: Served) -> None:
    stream, _ = await open_stream(served)
    # Sizes are mixed so that later frames are ready before earlier ones.
    for frame_id, width in enumerate([900, 16, 600, 16, 16, 700, 16, 16]):
        await stream.write(frame_message(frame_id, picture(width, width)))
    await stream.done_writing()
    frames = await read_all(stream)
    assert [frame.frame_id for frame in frames] == list(range(8))
    assert [frame.pts for frame in frames] == [n * 10 for n in range(8)]
    assert [frame.result.width for frame in frames] == [900, 16, 600, 16, 16, 700, 16, 16]
    assert {frame.dropped_before for frame in frames} == {0}


async def test_a_streams_default_is_the_raw_alpha(served: Served) -> None:
    stream, _ = await open_stream(served)
    await stream.write(frame_message(1, picture(50, 40)))
    await stream.done_writing()
    (frame,) = await read_all(stream)
    assert len(frame.result.raw.data) == 50 * 40


async def test_a_bad_frame_gets_its_own_error_and_the_stream_goes_on(served: Served) -> None:
    stream, _ = await open_stream(served)
    await stream.write(frame_message(0))
    await stream.write(frame_message(1, b"\xff\xd8\xff broken"))
    await stream.write(removal_pb2.RemoveStreamRequest(frame=removal_pb2.Frame(frame_id=2)))
    await stream.write(frame_message(3))
    await stream.done_writing()
    frames = await read_all(stream)
    assert [frame.WhichOneof("outcome") for frame in frames] == [
        "result",
        "error",
        "error",
        "result",
    ]
    assert frames[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "JPEG" in frames[1].error.message
    assert "the image is empty" in frames[2].error.message
    assert frames[1].report.request_id
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_bug_in_one_frame_is_that_frames_internal_error(served: Served) -> None:
    engine = served.registry.engines["tiny"]
    stream, started = await open_stream(served)
    engine.error = ZeroDivisionError("secret")
    await stream.write(frame_message(0))
    failed = (await stream.read()).frame
    engine.error = None
    await stream.write(frame_message(1))
    await stream.done_writing()
    assert failed.error.message == f"internal error, request {started.stream_id}"
    assert [frame.WhichOneof("outcome") for frame in await read_all(stream)] == ["result"]


async def test_no_more_frames_than_the_window_are_read_while_the_model_is_busy(
    serve: Serve,
) -> None:
    async with serve(stream_window=3) as served:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        stream, _ = await open_stream(served)
        (inside,) = served.app.removal.streams.open
        for frame_id in range(10):
            await stream.write(frame_message(frame_id))
        await stream.done_writing()
        await eventually(lambda: inside.frames_read == 3, "the window is full")
        # A further message has long been delivered; a reader that ignored the window would take it
        # before the answer to this unary call is back.
        await served.models.ListModels(models_pb2.ListModelsRequest())
        assert inside.frames_read == 3
        engine.open.set()
        assert len(await read_all(stream)) == 10
        assert inside.most_in_window == 3


async def test_a_client_that_leaves_mid_frame_frees_everything(served: Served) -> None:
    engine = served.registry.engines["tiny"]
    engine.open.clear()
    stream, _ = await open_stream(served)
    for frame_id in range(6):
        await stream.write(frame_message(frame_id))
    await eventually(lambda: engine.running == 2, "two frames run")
    stream.cancel()
    # The runs hold their memory until they are over.
    await eventually(lambda: served.app.admission.images == 2, "waiting frames are gone")
    assert served.app.admission.bytes > 0
    engine.open.set()
    await eventually(lambda: served.app.admission.bytes == 0, "running frames are gone")
    await eventually(lambda: not served.app.removal.streams.open, "the stream is gone")
    assert served.app.admission.images == 0
    await served.removal.Remove(request())


async def test_streams_wait_for_room_and_leave_a_quarter_to_single_requests(serve: Serve) -> None:
    async with serve(max_requests=4, stream_window=8) as served:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        stream, _ = await open_stream(served)
        for frame_id in range(8):
            await stream.write(frame_message(frame_id))
        await stream.done_writing()
        admission = served.app.admission
        await eventually(lambda: admission.waiting == 5, "five frames wait")
        assert admission.images == 3
        single = served.removal.Remove(request())
        await eventually(lambda: admission.images == 4, "the single request came in")
        engine.open.set()
        await single
        assert len(await read_all(stream)) == 8


async def test_a_stream_without_a_config_is_refused(served: Served) -> None:
    stream = served.removal.RemoveStream()
    await stream.write(frame_message(1))
    assert await read_all(stream) == []
    assert await ending(stream) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "the first message is a frame: a stream's first message must be its config",
    )


async def test_a_stream_that_ends_before_its_config_is_refused(served: Served) -> None:
    stream = served.removal.RemoveStream()
    await stream.done_writing()
    code, details = await ending(stream)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("the end of the stream came first")


@pytest.mark.parametrize("second", ["config", "empty"])
async def test_a_second_config_ends_the_stream_after_the_frames_before_it(
    served: Served, second: str
) -> None:
    stream, _ = await open_stream(served)
    await stream.write(frame_message(1))
    await stream.write(
        config_message() if second == "config" else removal_pb2.RemoveStreamRequest()
    )
    frames = await read_all(stream)
    code, details = await ending(stream)
    assert [frame.WhichOneof("outcome") for frame in frames] == ["result"]
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert second in details


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"resume_id": "no spaces"}, "option resume_id is 'no spaces'"),
        ({"options": options_pb2.RemoveOptions(temporal={"smooth": 0.96})}, "temporal.smooth"),
    ],
)
async def test_a_stream_option_that_makes_no_sense_is_refused_with_what_is_allowed(
    served: Served, config: dict[str, object], said: str
) -> None:
    stream = served.removal.RemoveStream()
    await stream.write(config_message(**config))
    code, details = await ending(stream)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert said in details


async def test_an_unknown_delivery_is_refused_with_what_is_allowed(served: Served) -> None:
    stream = served.removal.RemoveStream()
    await stream.write(config_message(delivery=77))
    code, details = await ending(stream)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "DELIVERY_IN_ORDER" in details


async def test_a_streams_log_line_counts_its_frames(served: Served) -> None:
    with capture_logs() as lines:
        stream, started = await open_stream(served, window=2)
        for frame_id in range(5):
            await stream.write(frame_message(frame_id))
        await stream.done_writing()
        await read_all(stream)
        await eventually(lambda: any(line["event"] == "call done" for line in lines), "logged")
    (line,) = [line for line in lines if line["event"] == "call done"]
    assert line["request_id"] == started.stream_id
    assert line["frames"] == 5
    assert line["most_in_window"] <= 2
    assert sum(line["event"] == "frame done" for line in lines) == 5
