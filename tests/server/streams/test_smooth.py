"""Frames of a stream with `temporal.smooth`, over the wire."""

from __future__ import annotations

import io

import grpc
import numpy as np
import pytest
from PIL import Image

from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from tests.server.fakes import request
from tests.server.serving import Serve, Served
from tests.server.streaming import open_stream, read_all

SMOOTH = options_pb2.RemoveOptions(
    temporal=options_pb2.Temporal(smooth=0.8),
    edges=options_pb2.Edges(refine=options_pb2.REFINE_OFF),  # the levels are the model's
)


def grey(level: int, side: int = 32) -> removal_pb2.RemoveStreamRequest:
    """A plain frame, whose alpha by the tiny model is level / 255."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), level, np.uint8)).save(buffer, "PNG")
    image = image_pb2.Image(encoded=buffer.getvalue())
    return removal_pb2.RemoveStreamRequest(frame=removal_pb2.Frame(image=image))


async def shown(served: Served, levels: list[int | tuple[int, int]], **config: object) -> list[int]:
    """The level of each frame's alpha, in one stream."""
    stream, _ = await open_stream(served, **config)
    for level in levels:
        await stream.write(grey(*level) if isinstance(level, tuple) else grey(level))
    await stream.done_writing()
    return [frame.result.raw.data[0] for frame in await read_all(stream)]


async def test_what_flickers_on_a_still_picture_is_steadied(served: Served) -> None:
    levels = [100, 103, 100, 103, 100, 103]
    assert await shown(served, levels) == levels
    steady = await shown(served, levels, options=SMOOTH)
    assert steady[0] == 100
    assert max(steady) - min(steady) <= 2


async def test_what_moves_is_shown_as_it_is(served: Served) -> None:
    levels = [40, 70, 100, 70]
    assert await shown(served, levels, options=SMOOTH) == levels


async def test_another_size_begins_anew(served: Served) -> None:
    assert await shown(served, [100, (103, 48), 103], options=SMOOTH) == [100, 103, 103]


@pytest.mark.parametrize("threads", [1, 4])
async def test_many_frames_in_work_are_blended_in_their_order(serve: Serve, threads: int) -> None:
    levels = [100 + place % 4 for place in range(40)]
    async with serve(threads=threads, stream_window=8) as served:
        once = await shown(served, levels, options=SMOOTH)
        assert once == await shown(served, levels, options=SMOOTH, window=1)
        assert served.app.admission.images == 0


async def test_a_frame_that_fails_does_not_hold_up_those_behind_it(served: Served) -> None:
    stream, _ = await open_stream(served, options=SMOOTH)
    broken = removal_pb2.RemoveStreamRequest(frame=removal_pb2.Frame(frame_id=1))
    for message in (grey(100), broken, grey(103)):
        await stream.write(message)
    await stream.done_writing()
    kinds = [frame.WhichOneof("outcome") for frame in await read_all(stream)]
    assert kinds == ["result", "error", "result"]


async def test_a_single_image_cannot_be_steadied(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.removal.Remove(request(options=SMOOTH))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "a single image has no frame before it" in (raised.value.details() or "")
