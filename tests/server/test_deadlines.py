"""Deadlines and cancellation over the wire: late work is dropped, memory comes back, others are
served.
"""

from __future__ import annotations

import asyncio

import cv2
import grpc
import numpy as np
import pytest
from structlog.testing import capture_logs

from server.deadline import Deadline, DeadlineExpired
from server.image_job import Job
from server.job import EncodedSource, Format, Options, Output, PixelFormat, RawSource, Refine
from tests.server.fakes import (
    ManualClock,
    config_message,
    eventually,
    frame_message,
    picture,
    request,
)
from tests.server.serving import Serve, Served


def new_job(deadline: Deadline) -> Job:
    return Job(EncodedSource(picture()), Options(), deadline, arrived_at=deadline.clock())


def test_a_deadline_knows_what_is_left_and_says_where_it_ran_out() -> None:
    clock = ManualClock()
    deadline = Deadline.after(2.5, clock)
    clock.advance(1)
    assert deadline.remaining_s == 1.5
    deadline.check("decoding")
    clock.advance(2)
    assert (deadline.remaining_s, deadline.is_over) == (0, True)
    with pytest.raises(DeadlineExpired, match=r"deadline of 2\.5 s passed while decoding"):
        deadline.check("decoding")


async def test_an_enforced_deadline_lets_other_timeouts_through() -> None:
    with pytest.raises(TimeoutError, match="somebody else's"):
        async with Deadline.after(60).enforced(lambda: "working"):
            raise TimeoutError("somebody else's")


async def test_a_request_whose_time_is_over_on_arrival_costs_no_decoding(served: Served) -> None:
    job = new_job(Deadline.after(0))
    with pytest.raises(DeadlineExpired, match="on its way here"):
        await served.app.remover.remove(job, wait=False)
    assert job.report.source_width == 0
    assert served.app.admission.images == 0


async def test_an_image_that_is_cancelled_in_the_model_is_not_encoded(served: Served) -> None:
    engine = served.registry.engines["tiny"]
    engine.open.clear()
    job = new_job(Deadline.after(30))
    work = asyncio.create_task(served.app.remover.remove(job, wait=False))
    await eventually(lambda: engine.running == 1, "it runs")
    work.cancel()
    _, waiting = await asyncio.wait({work}, timeout=0.05)
    assert waiting  # for its thread, which still reads the image
    engine.open.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (job.result.ByteSize(), served.app.admission.images) == (0, 0)


async def test_a_request_that_expires_in_the_queue_never_reaches_the_model(serve: Serve) -> None:
    async with serve(threads=1) as served:
        engine = served.registry.engines["tiny"]
        runs = len(engine.batches)
        engine.open.clear()
        first = served.removal.Remove(request())
        await eventually(lambda: engine.running == 1, "the first runs")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Remove(request(), timeout=0.05)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: served.app.admission.images == 1, "its permit is back")
        engine.open.set()
        await first
        await served.removal.Remove(request())
        assert len(engine.batches) == runs + 2


async def test_the_default_deadline_ends_a_request_that_has_none(serve: Serve) -> None:
    async with serve(threads=1, default_deadline_s=0.05) as served:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        running = served.removal.Remove(request(), timeout=30)
        await eventually(lambda: engine.running == 1, "one runs")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Remove(request())
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert str(caught.value.details()).startswith(
            "the deadline of 0.05 s passed while waiting for a worker"
        )
        engine.open.set()
        await running


async def test_a_frame_has_the_default_deadline_of_its_own(serve: Serve) -> None:
    async with serve(threads=1, default_deadline_s=0.05) as served:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        running = served.removal.Remove(request(), timeout=30)
        await eventually(lambda: engine.running == 1, "one runs")
        stream = served.removal.RemoveStream()
        await stream.write(config_message())
        await stream.write(frame_message(7))
        await stream.read()
        late = (await stream.read()).frame
        assert late.error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        engine.open.set()
        await running
        await stream.write(frame_message(8))
        await stream.done_writing()
        assert (await stream.read()).frame.WhichOneof("outcome") == "result"


async def test_a_cancelled_request_gives_its_memory_back_when_its_thread_is_done(
    served: Served,
) -> None:
    engine = served.registry.engines["tiny"]
    engine.open.clear()
    with capture_logs() as lines:
        call = served.removal.Remove(request())
        await eventually(lambda: engine.running == 1, "it runs")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # The engine still reads the image.
        assert served.app.admission.images == 1
        engine.open.set()
        await eventually(lambda: served.app.admission.bytes == 0, "its memory is back")
        await eventually(lambda: any(line["event"] == "call done" for line in lines), "logged")
    assert [line["code"] for line in lines if line["event"] == "call done"] == ["CANCELLED"]
    await served.removal.Remove(request())


async def test_a_request_cancelled_in_the_queue_costs_nothing_more(serve: Serve) -> None:
    async with serve(threads=1) as served:
        engine = served.registry.engines["tiny"]
        runs = len(engine.batches)
        engine.open.clear()
        first = served.removal.Remove(request())
        await eventually(lambda: engine.running == 1, "the first runs")
        second = served.removal.Remove(request())
        await eventually(lambda: served.app.admission.images == 2, "the second waits")
        second.cancel()
        await eventually(lambda: served.app.admission.images == 1, "the second is gone")
        engine.open.set()
        await first
        assert len(engine.batches) == runs + 1


async def test_long_work_on_an_edge_ends_when_its_caller_has_gone(served: Served) -> None:
    rgb = np.random.default_rng(2).integers(0, 90, (1500, 2000, 3), np.uint8)
    cv2.circle(rgb, (1000, 750), 500, (255, 255, 255), -1)
    source = RawSource(rgb.tobytes(), PixelFormat.RGB8, 2000, 1500)
    options = Options(output=Output.ALPHA, format=Format.RAW, refine=Refine.BEST)
    deadline = Deadline.after(30)
    job = Job(source, options, deadline, arrived_at=deadline.clock())
    work = asyncio.create_task(served.app.remover.remove(job, wait=False))
    await eventually(lambda: job.doing == "finishing the result", "its edge is worked on")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (job.result.ByteSize(), served.app.admission.images) == (0, 0)
