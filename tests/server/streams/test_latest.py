"""DELIVERY_LATEST: what is overtaken is let go of and counted, the newest is always answered."""

from __future__ import annotations

import grpc

from mattestream.v1 import removal_pb2
from tests.server.fakes import eventually, frame_message
from tests.server.serving import Served
from tests.server.streaming import open_stream, read_all

LATEST = removal_pb2.DELIVERY_LATEST


async def test_overtaken_frames_are_counted_and_the_newest_is_answered(served: Served) -> None:
    engine = served.registry.engines["tiny"]
    engine.open.clear()
    stream, started = await open_stream(served, delivery=LATEST, window=1)
    assert started.window == 1
    (inside,) = served.app.removal.streams.open
    await stream.write(frame_message(0))
    await eventually(lambda: engine.running == 1, "the first frame runs")
    for frame_id in range(1, 10):
        await stream.write(frame_message(frame_id))
    await eventually(lambda: inside.frames_read == 10, "all are read though the window is full")
    assert inside.frames_dropped == 8
    assert served.app.admission.images == 1
    await stream.done_writing()
    engine.open.set()
    frames = await read_all(stream)
    assert [(frame.frame_id, frame.dropped_before) for frame in frames] == [(0, 0), (9, 8)]
    assert await stream.code() is grpc.StatusCode.OK
    assert engine.batches == [1, 1, 1]  # the first one warmed the model: dropped frames cost no run


async def test_nothing_is_dropped_while_the_server_keeps_up(served: Served) -> None:
    stream, _ = await open_stream(served, delivery=LATEST)
    for frame_id in range(5):
        await stream.write(frame_message(frame_id))
        frame = (await stream.read()).frame
        assert (frame.frame_id, frame.dropped_before) == (frame_id, 0)
    await stream.done_writing()
    assert await read_all(stream) == []


async def test_the_window_is_one_frame_per_thread_unless_the_caller_says_more(
    served: Served,
) -> None:
    for wish, window in ((0, 2), (4, 4), (100, 4)):
        stream, started = await open_stream(served, delivery=LATEST, window=wish)
        assert started.window == window
        stream.cancel()


async def test_a_broken_form_ends_the_stream_after_the_newest_frame(served: Served) -> None:
    engine = served.registry.engines["tiny"]
    engine.open.clear()
    stream, _ = await open_stream(served, delivery=LATEST, window=1)
    (inside,) = served.app.removal.streams.open
    for frame_id in range(3):
        await stream.write(frame_message(frame_id))
    await eventually(lambda: inside.frames_read == 3, "all are read")
    await stream.write(removal_pb2.RemoveStreamRequest())
    engine.open.set()
    frames = await read_all(stream)
    assert frames[-1].frame_id == 2
    assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT
