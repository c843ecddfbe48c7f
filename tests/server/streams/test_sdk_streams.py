"""The streams' options through both clients."""

from __future__ import annotations

import asyncio

import numpy as np

from mattestream import AsyncClient, Client, Frame
from tests.server.serving import Serve

FRAMES = [Frame(np.full((32, 32, 3), level, np.uint8), pts=level) for level in (100, 100, 103)]


async def test_both_clients_take_smooth_skip_unchanged_and_resume_id(serve: Serve) -> None:
    async with serve(stream_window=2) as served:
        address = f"127.0.0.1:{served.app.port}"
        keywords = {"smooth": 0.8, "skip_unchanged": True}

        def threaded() -> list:
            with Client(address) as client:
                return list(client.remove_stream(FRAMES, resume_id="a", **keywords))

        async with AsyncClient(address) as client:
            aio = [item async for item in client.remove_stream(FRAMES, resume_id="b", **keywords)]
        for results in (await asyncio.to_thread(threaded), aio):
            assert [result.unchanged for result in results] == [False, True, False]
            assert [int(result.array()[0, 0]) for result in results] == [100, 100, 101]
            assert [result.pts for result in results] == [100, 100, 103]


async def test_the_latest_frames_come_with_what_was_dropped_before_them(serve: Serve) -> None:
    async with serve() as served:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        address = f"127.0.0.1:{served.app.port}"

        async def frames():
            for level in range(30):
                yield np.full((32, 32, 3), level, np.uint8)
            engine.open.set()

        async with AsyncClient(address) as client:
            stream = client.remove_stream(frames(), delivery="latest", window=1)
            results = [item async for item in stream]
        assert results[-1].frame_id == 29
        assert len(results) + sum(result.dropped_before for result in results) == 30
