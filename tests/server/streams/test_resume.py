"""Broken streams that are taken up again by their resume_id."""

from __future__ import annotations

import grpc
import pytest

from mattestream.v1 import options_pb2
from server.streams.config import StreamPlan
from server.streams.parked import Parked
from server.streams.session import Session
from tests.server.fakes import ManualClock, config_message, eventually
from tests.server.serving import Serve, Served
from tests.server.streaming import ending, open_stream, read_all
from tests.server.streams.test_smooth import SMOOTH, grey


async def broken(served: Served, level: int, **config: object) -> None:
    """A stream that has shown one frame and then breaks."""
    stream, _ = await open_stream(served, options=SMOOTH, **config)
    await stream.write(grey(level))
    await stream.read()
    stream.cancel()
    await eventually(lambda: not served.app.removal.streams.open, "the stream is over")


async def test_a_broken_stream_goes_on_with_its_state(served: Served) -> None:
    await broken(served, 100, resume_id="cam-1")
    stream, started = await open_stream(served, options=SMOOTH, resume_id="cam-1")
    assert started.resumed
    assert started.HasField("last_frame_id")
    await stream.write(grey(103))
    await stream.done_writing()
    (frame,) = await read_all(stream)
    assert frame.result.raw.data[0] == 101  # 103 blended with 100


@pytest.mark.parametrize(
    "other",
    [{"resume_id": "cam-2"}, {"resume_id": "cam-1", "options": options_pb2.RemoveOptions()}],
)
async def test_another_name_or_other_options_begin_anew(
    served: Served, other: dict[str, object]
) -> None:
    await broken(served, 100, resume_id="cam-1")
    _, started = await open_stream(served, **{"options": SMOOTH, **other})
    assert not started.resumed


async def test_a_name_belongs_to_the_key_that_came_with_it(served: Served) -> None:
    await broken(served, 100, resume_id="cam-1")
    for key, resumed in (("someone-elses-key", False), (None, True)):
        metadata = None if key is None else (("x-api-key", key),)
        stream = served.removal.RemoveStream(metadata=metadata)
        await stream.write(config_message(options=SMOOTH, resume_id="cam-1"))
        assert (await stream.read()).started.resumed is resumed
        await stream.done_writing()
        await read_all(stream)


async def test_a_newer_stream_takes_over_from_one_that_is_open(served: Served) -> None:
    older, _ = await open_stream(served, options=SMOOTH, resume_id="cam-1")
    await older.write(grey(100))
    await older.read()
    newer, started = await open_stream(served, options=SMOOTH, resume_id="cam-1")
    assert started.resumed
    code, details = await ending(older)
    assert code is grpc.StatusCode.ABORTED
    assert "another stream came with the same resume_id" in details
    await newer.write(grey(103))
    assert (await newer.read()).frame.result.raw.data[0] == 101
    newer.cancel()


async def test_a_server_that_keeps_none_says_so(serve: Serve) -> None:
    async with serve(stream_resume_s=0.0) as served:
        stream = served.removal.RemoveStream()
        await stream.write(config_message(resume_id="cam-1"))
        code, details = await ending(stream)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "stream_resume_s is 0" in details


def session(smooth: float = 0.5) -> Session:
    return Session(StreamPlan(options=None, window=1, smooth=smooth), "digest", remembers=False)


async def test_what_is_left_is_forgotten_after_its_time() -> None:
    clock = ManualClock()
    parked = Parked(30.0, 4, 1 << 20, clock=clock)
    mine, _ = await parked.enter(("", "a"), lambda: None)
    parked.leave(("", "a"), mine, session())
    clock.advance(29.9)
    assert len(parked) == 1
    clock.advance(0.2)
    assert len(parked) == 0


async def test_the_oldest_goes_when_there_are_too_many() -> None:
    parked = Parked(30.0, 2, 1 << 20)
    for name in "abc":
        mine, _ = await parked.enter(("", name), lambda: None)
        parked.leave(("", name), mine, session())
    assert len(parked) == 2
    assert (await parked.enter(("", "a"), lambda: None))[1] is None
    assert (await parked.enter(("", "c"), lambda: None))[1] is not None
