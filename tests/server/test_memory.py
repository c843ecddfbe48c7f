"""Memory: nothing of an image outlives its answer, however it ended. The garbage collector is off
meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import grpc
import pytest

from server.image_job import Job
from tests.server.fakes import config_message, eventually, frame_message, picture, request
from tests.server.serving import Served


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def jobs() -> int:
    """Images that something still refers to."""
    return sum(isinstance(thing, Job) for thing in gc.get_objects())


@pytest.mark.usefixtures("no_collector")
async def test_a_finished_image_is_freed(served: Served) -> None:
    for _ in range(5):
        await served.removal.Remove(request())
    await eventually(lambda: jobs() == 0, "all are freed")


@pytest.mark.usefixtures("no_collector")
async def test_a_damaged_image_is_freed(served: Served) -> None:
    for _ in range(5):
        with pytest.raises(grpc.aio.AioRpcError):
            await served.removal.Remove(request(picture(200, 200, kind="PNG")[:-300]))
    await eventually(lambda: jobs() == 0, "all are freed")


@pytest.mark.usefixtures("no_collector")
async def test_an_image_whose_run_failed_is_freed(served: Served) -> None:
    served.registry.engines["tiny"].error = ValueError("broken")
    for _ in range(5):
        with pytest.raises(grpc.aio.AioRpcError):
            await served.removal.Remove(request())
    served.registry.engines["tiny"].error = None
    await eventually(lambda: jobs() == 0, "all are freed")


@pytest.mark.usefixtures("no_collector")
async def test_a_cancelled_image_is_freed(served: Served) -> None:
    engine = served.registry.engines["tiny"]
    engine.open.clear()
    calls = [served.removal.Remove(request()) for _ in range(5)]
    await eventually(lambda: served.app.admission.images == 5, "all are in")
    await eventually(lambda: engine.running == 2, "two run")
    for call in calls:
        call.cancel()
    engine.open.set()
    for call in calls:
        with pytest.raises(asyncio.CancelledError):
            await call
    await eventually(lambda: jobs() == 0, "all are freed")


@pytest.mark.usefixtures("no_collector")
async def test_the_frames_of_a_stream_are_freed_good_and_bad(served: Served) -> None:
    stream = served.removal.RemoveStream()
    await stream.write(config_message())
    for frame_id in range(6):
        await stream.write(frame_message(frame_id, b"bad" if frame_id % 2 else None))
    await stream.done_writing()
    while await stream.read() is not grpc.aio.EOF:
        pass
    await eventually(lambda: jobs() == 0, "all are freed")
