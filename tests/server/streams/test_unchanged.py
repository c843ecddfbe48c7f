"""`skip_unchanged`: a frame that equals the one before has its result, without a run."""

from __future__ import annotations

from tests.server.fakes import eventually, frame_message, noise, picture
from tests.server.serving import Served
from tests.server.streaming import open_stream, read_all


async def test_equal_frames_share_one_run(served: Served) -> None:
    engine = served.registry.engines["tiny"]
    before = len(engine.batches)
    first, second = picture(96, 64), picture(64, 96)
    stream, _ = await open_stream(served, skip_unchanged=True)
    for frame_id, data in enumerate([first, first, second, second, second, first]):
        await stream.write(frame_message(frame_id, data))
    await stream.done_writing()
    frames = await read_all(stream)
    assert [frame.unchanged for frame in frames] == [False, True, False, True, True, False]
    assert [frame.frame_id for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert frames[1].result == frames[0].result
    assert frames[1].report.source_width == 96
    assert frames[1].report.timings.infer_ms == 0
    assert len(engine.batches) - before == 3
    await eventually(lambda: served.app.admission.bytes == 0, "all memory is given back")


async def test_large_frames_are_compared_too(served: Served) -> None:
    large = noise(1200, 900)
    stream, _ = await open_stream(served, skip_unchanged=True)
    for frame_id in range(3):
        await stream.write(frame_message(frame_id, large))
    await stream.done_writing()
    assert [frame.unchanged for frame in await read_all(stream)] == [False, True, True]


async def test_a_frame_that_failed_is_worked_on_again(served: Served) -> None:
    engine = served.registry.engines["tiny"]
    stream, _ = await open_stream(served, skip_unchanged=True, window=1)
    engine.error = ZeroDivisionError("once")
    await stream.write(frame_message(0))
    assert (await stream.read()).frame.WhichOneof("outcome") == "error"
    engine.error = None
    await stream.write(frame_message(1))
    frame = (await stream.read()).frame
    assert frame.WhichOneof("outcome") == "result"
    assert not frame.unchanged
    stream.cancel()


async def test_without_the_option_every_frame_runs(served: Served) -> None:
    stream, _ = await open_stream(served)
    for frame_id in range(2):
        await stream.write(frame_message(frame_id))
    await stream.done_writing()
    assert [frame.unchanged for frame in await read_all(stream)] == [False, False]
