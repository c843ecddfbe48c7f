"""Streams whose clients do not keep up: they stop the server at its window, or lose their place."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from mattestream.v1 import options_pb2
from server import interceptors
from tests.server.fakes import PATIENCE_S, eventually, frame_message, noise, request
from tests.server.serving import Serve
from tests.server.streaming import ending, open_stream, read_all, write_all


async def test_a_client_that_stops_reading_stops_the_server_at_its_window(serve: Serve) -> None:
    photo = noise(700, 700)  # its raw cut-out is 2 MB: two do not fit into the network's buffers
    options = options_pb2.RemoveOptions(
        output=options_pb2.OUTPUT_CUTOUT, format=options_pb2.FORMAT_RAW
    )
    async with serve(stream_window=2) as served:
        stream, _ = await open_stream(served, options=options)
        (inside,) = served.app.removal.streams.open
        writing = asyncio.create_task(
            write_all(stream, (frame_message(frame_id, photo) for frame_id in range(30)))
        )
        await eventually(lambda: inside.frames_read - inside.frames_answered == 2, "window full")
        await eventually(lambda: served.app.admission.images == 0, "both are worked off")
        for _ in range(3):  # other callers are served meanwhile
            await served.removal.Remove(request())
        assert inside.frames_read - inside.frames_answered == 2
        assert inside.frames_read < 30
        # Only the two unread answers take memory.
        await eventually(
            lambda: served.app.admission.bytes <= 2 * (700 * 700 * 4 + 1000), "answers only"
        )
        assert len(await read_all(stream)) == 30
        await writing
        await eventually(lambda: served.app.admission.bytes == 0, "all is free")


async def test_a_stream_whose_answers_nobody_reads_is_ended(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = asyncio.Event()  # the status, too, is behind the answers that nobody reads
    abort = interceptors._abort

    async def watched_abort(*arguments: Any) -> None:
        try:
            await abort(*arguments)
        finally:
            given_up.set()

    monkeypatch.setattr(interceptors, "ABORT_PATIENCE_S", 0.1)
    monkeypatch.setattr(interceptors, "_abort", watched_abort)
    options = options_pb2.RemoveOptions(
        output=options_pb2.OUTPUT_CUTOUT, format=options_pb2.FORMAT_RAW
    )
    async with serve(stream_window=2, stream_stall_s=0.2) as served:
        with capture_logs() as lines:
            stream, _ = await open_stream(served, options=options)
            photo = noise(1500, 1500)
            writing = asyncio.create_task(
                write_all(stream, (frame_message(frame_id, photo) for frame_id in range(8)))
            )
            await eventually(lambda: not served.app.removal.streams.open, "the stream is ended")
            await eventually(lambda: served.app.admission.bytes == 0, "all is free")
            await eventually(lambda: any(line["event"] == "call done" for line in lines), "logged")
        (line,) = [line for line in lines if line["event"] == "call done"]
        assert line["code"] == "DEADLINE_EXCEEDED"
        assert "no answer was read for 0.2 s" in line["error"]
        await given_up.wait()
        await served.removal.Remove(request())
        assert caplog.records == []  # gRPC would call it an unexpected error, with a trace
        stream.cancel()
        writing.cancel()
        await asyncio.wait({writing})


async def test_a_stream_that_never_sends_its_config_is_ended(serve: Serve) -> None:
    async with serve(stream_stall_s=0.05) as served:
        stream = served.removal.RemoveStream()
        code, details = await ending(stream)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("no config came for 0.05 s")


@pytest.mark.parametrize("frames", [0, 3])
async def test_a_stream_that_sends_nothing_more_is_ended_and_its_place_is_free(
    serve: Serve, frames: int
) -> None:
    async with serve(stream_stall_s=0.1, max_streams=1) as served:
        stream, _ = await open_stream(served)
        for frame_id in range(frames):
            await stream.write(frame_message(frame_id))
        async with asyncio.timeout(PATIENCE_S):
            assert len(await read_all(stream)) == frames
            code, details = await ending(stream)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert details.startswith("no frame came for 0.1 s")
        another, _ = await open_stream(served)
        another.cancel()


async def test_a_stream_that_waits_for_a_slow_frame_is_not_idle(serve: Serve) -> None:
    async with serve(stream_stall_s=0.05) as served:
        engine = served.registry.engines["tiny"]
        stream, _ = await open_stream(served)
        engine.open.clear()
        await stream.write(frame_message(1))
        await eventually(lambda: engine.running == 1, "the frame runs")
        await asyncio.sleep(0.15)  # three times as long as an idle stream may live
        assert not stream.done()
        engine.open.set()
        assert (await stream.read()).frame.frame_id == 1
        stream.cancel()


async def test_one_stream_too_many_is_refused_with_a_hint(serve: Serve) -> None:
    async with serve(max_streams=1) as served:
        first, _ = await open_stream(served)
        second = served.removal.RemoveStream()
        code, details = await ending(second)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1 streams open" in details
        assert int(dict(await second.trailing_metadata())["grpc-retry-pushback-ms"]) >= 20
        await first.done_writing()
        assert await first.code() is grpc.StatusCode.OK
        third, _ = await open_stream(served)
        third.cancel()
