"""Pictures that never leave the GPU: in and out by CUDA IPC handles over gRPC, and no handle stays
open longer than it is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from models.target import Target
from tests.fakes.emulated_ipc import DRIVER, OtherProcess
from tests.server.device.cuda_callers import (
    ALPHA_BYTES,
    HALF,
    HEIGHT,
    RAW_ALPHA,
    RGB_BYTES,
    WIDTH,
    Served,
    alpha_to,
    gpu_server,
    image_at,
    place,
    refused,
    remove,
)
from tests.server.fakes import config_message, eventually


async def expected_alpha(served: Served, **fields: object) -> NDArray[np.uint8]:
    """The alpha of the same picture, sent in the message."""
    raw = image_pb2.RawImage(
        layout=image_pb2.PixelLayout(
            format=image_pb2.PIXEL_FORMAT_RGB8, width=WIDTH, height=HEIGHT
        ),
        data=HALF.tobytes(),
    )
    options = options_pb2.RemoveOptions(**fields)  # type: ignore[arg-type]
    options.MergeFrom(RAW_ALPHA)
    answer = await remove(served, image=image_pb2.Image(raw=raw), options=options)
    return np.frombuffer(answer.result.raw.data, np.uint8)


async def test_a_frame_goes_in_and_its_alpha_out_and_no_pixel_leaves_the_device(
    gpu_models: Path, caller: OtherProcess
) -> None:
    # At an odd address: what kernels could not read in place.
    content = np.concatenate([np.full(5, 7, np.uint8), HALF.reshape(-1)])
    came, _ = caller.share(content)
    goes, block = caller.share(ALPHA_BYTES + 9)
    async with gpu_server(gpu_models) as served:
        answer = await remove(
            served, image=image_at(came, 5), options=alpha_to(place(goes, 3, ALPHA_BYTES + 1))
        )
        assert DRIVER.open_now == 0  # before the answer, so that the caller may free his memory
        expected = await expected_alpha(served)
    np.testing.assert_array_equal(block.array[3 : 3 + ALPHA_BYTES], expected)
    assert set(block.array[:3]) == set(block.array[3 + ALPHA_BYTES :]) == {0xFF}
    where = answer.result.cuda_memory
    assert (where.range.handle, where.range.offset) == (goes, 3)
    assert (where.range.byte_size, where.range.device) == (ALPHA_BYTES, 0)
    assert where.layout.format == image_pb2.PIXEL_FORMAT_GRAY8
    assert (answer.result.width, answer.result.height) == (WIDTH, HEIGHT)
    copies = answer.report.copies
    assert copies.host_to_device == 0
    # The report's own 256 bytes; no pixel.
    assert (copies.device_to_host, copies.device_to_host_bytes) == (1, 256)
    assert copies.device_to_device == 2
    assert copies.device_to_device_bytes == RGB_BYTES + ALPHA_BYTES
    assert answer.report.subject_box.right == WIDTH


@pytest.mark.parametrize(
    ("output", "channels"),
    [(options_pb2.OUTPUT_CUTOUT, 4), (options_pb2.OUTPUT_COMPOSITE, 3)],
)
async def test_colours_stay_on_the_device_too(
    gpu_models: Path, caller: OtherProcess, output: options_pb2.Output.ValueType, channels: int
) -> None:
    came, _ = caller.share(HALF)
    goes, block = caller.share(ALPHA_BYTES * channels)
    wanted = options_pb2.RemoveOptions(
        output=output,
        format=options_pb2.FORMAT_RAW,
        cuda_memory_output=place(goes, byte_size=ALPHA_BYTES * channels),
    )
    if output == options_pb2.OUTPUT_COMPOSITE:
        wanted.background.color = "white"
    async with gpu_server(gpu_models) as served:
        answer = await remove(served, image=image_at(came), options=wanted)
        wanted.ClearField("cuda_memory_output")
        expected = await remove(served, image=image_at(came), options=wanted)
    assert block.array.tobytes() == expected.result.raw.data
    assert answer.report.copies.host_to_device == 0
    assert answer.report.copies.device_to_host_bytes == 256


async def test_either_end_alone_may_lie_on_the_device(
    gpu_models: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    goes, block = caller.share(ALPHA_BYTES)
    async with gpu_server(gpu_models) as served:
        answer = await remove(served, image=image_at(came), options=RAW_ALPHA)
        expected = await expected_alpha(served)
        assert answer.result.raw.data == expected.tobytes()
        assert answer.report.copies.host_to_device == 0
        raw = image_pb2.RawImage(layout=image_at(came).cuda_memory.layout, data=HALF.tobytes())
        sent = await remove(served, image=image_pb2.Image(raw=raw), options=alpha_to(place(goes)))
    assert sent.report.copies.host_to_device_bytes == RGB_BYTES
    assert sent.report.copies.device_to_host_bytes == 256
    np.testing.assert_array_equal(block.array, expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"edges": options_pb2.Edges(feather_px=2.0)},
        {"max_megapixels": 0.001},
        {"flat_background": options_pb2.FlatBackground(use=options_pb2.FLAT_BACKGROUND_USE_ON)},
    ],
    ids=["feathered on the host", "made smaller by the host", "a drawing"],
)
async def test_what_only_the_host_can_do_is_done_there_and_counted(
    gpu_models: Path, caller: OtherProcess, fields: dict[str, object]
) -> None:
    came, _ = caller.share(HALF)
    goes, block = caller.share(ALPHA_BYTES)
    async with gpu_server(gpu_models) as served:
        answer = await remove(served, image=image_at(came), options=alpha_to(place(goes), **fields))
        expected = await expected_alpha(served, **fields)
    size = answer.result.width * answer.result.height
    assert size == expected.size == answer.result.cuda_memory.range.byte_size
    np.testing.assert_array_equal(block.array[:size], expected)
    copies = answer.report.copies
    assert copies.device_to_host_bytes >= RGB_BYTES
    assert copies.host_to_device_bytes >= size


async def test_frames_of_a_stream_share_a_ring_that_is_opened_once(
    gpu_models: Path, caller: OtherProcess
) -> None:
    frames, room = 12, RGB_BYTES + ALPHA_BYTES
    content = np.zeros((frames, room), np.uint8)
    for index in range(frames):
        content[index, :RGB_BYTES] = 20 * index
    ring, block = caller.share(content)
    before = DRIVER.opened

    async def messages() -> AsyncIterator[removal_pb2.RemoveStreamRequest]:
        yield config_message()
        for index in range(frames):
            frame = removal_pb2.Frame(
                frame_id=index,
                image=image_at(ring, index * room),
                cuda_memory_output=place(ring, index * room + RGB_BYTES),
            )
            yield removal_pb2.RemoveStreamRequest(frame=frame)

    async with gpu_server(gpu_models) as served:
        answers = [reply.frame async for reply in served.removal.RemoveStream(messages())][1:]
        assert DRIVER.open_now == 0  # closed with the stream
    assert DRIVER.opened - before == 1
    assert [frame.frame_id for frame in answers] == list(range(frames))
    assert {frame.report.copies.host_to_device for frame in answers} == {0}
    found = block.array.reshape(frames, room)[:, RGB_BYTES:]
    for index in range(frames):
        assert (found[index] == 20 * index).all()


async def test_steady_alphas_are_made_of_frames_on_the_device_too(
    gpu_models: Path, caller: OtherProcess
) -> None:
    frames = [np.full_like(HALF, shade) for shade in (0, 9, 18, 250)]
    options = options_pb2.RemoveOptions(temporal=options_pb2.Temporal(smooth=0.8))
    goes, block = caller.share(len(frames) * ALPHA_BYTES)

    async def named() -> AsyncIterator[removal_pb2.RemoveStreamRequest]:
        yield config_message(options=options)
        for index, rgb in enumerate(frames):
            frame = removal_pb2.Frame(
                image=image_at(caller.share(rgb)[0]),
                cuda_memory_output=place(goes, index * ALPHA_BYTES),
            )
            yield removal_pb2.RemoveStreamRequest(frame=frame)

    async def sent() -> AsyncIterator[removal_pb2.RemoveStreamRequest]:
        yield config_message(options=options)
        for rgb in frames:
            raw = image_pb2.RawImage(layout=image_at(b"").cuda_memory.layout, data=rgb.tobytes())
            frame = removal_pb2.Frame(image=image_pb2.Image(raw=raw))
            yield removal_pb2.RemoveStreamRequest(frame=frame)

    async with gpu_server(gpu_models) as served:
        there = [reply.frame async for reply in served.removal.RemoveStream(named())][1:]
        expected = [reply.frame async for reply in served.removal.RemoveStream(sent())][1:]
    assert [frame.report.copies.host_to_device for frame in there] == [0] * len(frames)
    assert block.array.tobytes() == b"".join(frame.result.raw.data for frame in expected)


async def test_a_bad_frame_fails_alone(gpu_models: Path, caller: OtherProcess) -> None:
    good, _ = caller.share(HALF)

    async def messages() -> AsyncIterator[removal_pb2.RemoveStreamRequest]:
        yield config_message()
        for index, handle in enumerate((good, bytes(64), good)):
            frame = removal_pb2.Frame(frame_id=index, image=image_at(handle))
            yield removal_pb2.RemoveStreamRequest(frame=frame)

    async with gpu_server(gpu_models) as served:
        answers = [reply.frame async for reply in served.removal.RemoveStream(messages())][1:]
    assert [frame.HasField("error") for frame in answers] == [False, True, False]
    assert "does not open" in answers[1].error.message or "cannot be opened" in (
        answers[1].error.message
    )


async def test_the_model_on_the_memorys_gpu_gets_the_image(
    gpu_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.app.targets", lambda config: (Target(0), Target(1)))
    second = OtherProcess(gpu=1)
    came, _ = second.share(HALF)
    async with gpu_server(gpu_models) as served:
        for _ in range(3):
            answer = await remove(served, image=image_at(came, device=1), options=RAW_ALPHA)
            assert answer.report.model.device == "emulated:1 g++"
        code, said = await refused(served, image=image_at(came, device=0), options=RAW_ALPHA)
        assert code == "INVALID_ARGUMENT"
        assert "lies on GPU 1" in said
        code, said = await refused(
            served, image=image_at(came, device=1), options=alpha_to(place(came, device=0))
        )
        assert code == "INVALID_ARGUMENT"
        assert "name memory of one GPU" in said


async def test_callers_who_leave_keep_no_handle_open(
    gpu_models: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    goes, _ = caller.share(ALPHA_BYTES)
    async with gpu_server(gpu_models, record=False) as served:
        engine = served.registry.engines["tiny"]
        engine.is_open.clear()
        message = removal_pb2.RemoveRequest(image=image_at(came), options=alpha_to(place(goes)))
        calls = [served.removal.Remove(message) for _ in range(6)]
        await eventually(lambda: engine.running == 1, "a run is on the device")
        for call in calls:
            call.cancel()
        engine.is_open.set()
        await asyncio.gather(*(call.code() for call in calls))
        await eventually(lambda: DRIVER.open_now == 0, "all handles are closed")
        assert len(served.app.cuda_memory.leases) == 0


async def test_a_failed_run_closes_what_it_had_open(gpu_models: Path, caller: OtherProcess) -> None:
    came, _ = caller.share(HALF)
    goes, _ = caller.share(ALPHA_BYTES)
    async with gpu_server(gpu_models) as served:
        served.registry.engines["tiny"].refuses = True
        served.registry.loaded["tiny"].batches[0]._graphs.clear()
        served.registry.loaded["tiny"].batches[1]._graphs.clear()
        code, _ = await refused(served, image=image_at(came), options=alpha_to(place(goes)))
    assert code == "INTERNAL"


async def test_a_stream_that_is_cut_off_closes_its_ring(
    gpu_models: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)

    async with gpu_server(gpu_models) as served:
        call = served.removal.RemoveStream()
        await call.write(config_message())
        frame = removal_pb2.Frame(frame_id=1, image=image_at(came))
        await call.write(removal_pb2.RemoveStreamRequest(frame=frame))
        await call.read()
        await call.read()
        assert DRIVER.open_now == 1
        call.cancel()
        await eventually(lambda: DRIVER.open_now == 0, "the ring is closed")
