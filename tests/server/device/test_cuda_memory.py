"""Pictures that never leave the GPU: in and out by CUDA IPC handles over gRPC, and every way to
abuse them refused with a sentence while the server goes on and no handle stays open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.device import DeviceError
from mattestream.v1 import image_pb2, options_pb2, removal_pb2, removal_pb2_grpc
from models.target import Target
from server.app import App
from server.cuda_memory.leases import Leases
from server.shared_memory.policy import SharedMemoryWrong
from tests.fakes.emulated_device import EmulatedDevice
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.emulated_ipc import DRIVER, OtherProcess
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.device.served import serving
from tests.server.fakes import config_message, eventually, request
from tests.server.serving import Serve

WIDTH, HEIGHT = 64, 48
RGB_BYTES, ALPHA_BYTES = WIDTH * HEIGHT * 3, WIDTH * HEIGHT
HALF = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
HALF[:, WIDTH // 2 :] = 255
RAW_ALPHA = options_pb2.RemoveOptions(
    output=options_pb2.OUTPUT_ALPHA, format=options_pb2.FORMAT_RAW
)


@dataclass
class Served:
    app: App
    registry: EmulatedRegistry
    removal: removal_pb2_grpc.BackgroundRemovalServiceAsyncStub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, "tiny", max_batch=4)
    write_tiny_model(made, "nan", gain=float("nan"), max_batch=4)
    return made


@pytest.fixture
def caller() -> Iterator[OtherProcess]:
    """A process with memory on GPU 0; nobody writes beside it, and no handle stays open."""
    process = OtherProcess()
    yield process
    process.check_guards()
    assert DRIVER.open_now == 0


@asynccontextmanager
async def gpu_server(folder: Path, **settings: object) -> AsyncIterator[Served]:
    allowed = {"cuda_shared_memory": True}
    async with serving(folder, **{**allowed, **settings}) as (app, registry, removal):
        yield Served(app, registry, removal)


def image_at(
    handle: bytes, offset: int = 0, byte_size: int = RGB_BYTES, device: int = 0
) -> image_pb2.Image:
    return image_pb2.Image(
        cuda_memory=image_pb2.CudaMemoryImage(
            range=place(handle, offset, byte_size, device),
            layout=image_pb2.PixelLayout(
                format=image_pb2.PIXEL_FORMAT_RGB8, width=WIDTH, height=HEIGHT
            ),
        )
    )


def place(
    handle: bytes, offset: int = 0, byte_size: int = ALPHA_BYTES, device: int = 0
) -> image_pb2.CudaMemoryRange:
    return image_pb2.CudaMemoryRange(
        handle=handle, offset=offset, byte_size=byte_size, device=device
    )


def alpha_to(span: image_pb2.CudaMemoryRange, **fields: object) -> options_pb2.RemoveOptions:
    options = options_pb2.RemoveOptions(**fields)  # type: ignore[arg-type]
    options.MergeFrom(RAW_ALPHA)
    options.cuda_memory_output.CopyFrom(span)
    return options


async def remove(served: Served, **fields: object) -> removal_pb2.RemoveResponse:
    return await served.removal.Remove(removal_pb2.RemoveRequest(**fields))  # type: ignore[arg-type]


async def refused(served: Served, **fields: object) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await remove(served, **fields)
    assert DRIVER.open_now == 0
    return caught.value.code().name, str(caught.value.details())


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


# In and out.


async def test_a_frame_goes_in_and_its_alpha_out_and_no_pixel_leaves_the_device(
    folder: Path, caller: OtherProcess
) -> None:
    # At an odd address: what kernels could not read in place.
    content = np.concatenate([np.full(5, 7, np.uint8), HALF.reshape(-1)])
    came, _ = caller.share(content)
    goes, block = caller.share(ALPHA_BYTES + 9)
    async with gpu_server(folder) as served:
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
    folder: Path, caller: OtherProcess, output: options_pb2.Output.ValueType, channels: int
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
    async with gpu_server(folder) as served:
        answer = await remove(served, image=image_at(came), options=wanted)
        wanted.ClearField("cuda_memory_output")
        expected = await remove(served, image=image_at(came), options=wanted)
    assert block.array.tobytes() == expected.result.raw.data
    assert answer.report.copies.host_to_device == 0
    assert answer.report.copies.device_to_host_bytes == 256


async def test_either_end_alone_may_lie_on_the_device(folder: Path, caller: OtherProcess) -> None:
    came, _ = caller.share(HALF)
    goes, block = caller.share(ALPHA_BYTES)
    async with gpu_server(folder) as served:
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
    folder: Path, caller: OtherProcess, fields: dict[str, object]
) -> None:
    came, _ = caller.share(HALF)
    goes, block = caller.share(ALPHA_BYTES)
    async with gpu_server(folder) as served:
        answer = await remove(served, image=image_at(came), options=alpha_to(place(goes), **fields))
        expected = await expected_alpha(served, **fields)
    size = answer.result.width * answer.result.height
    assert size == expected.size == answer.result.cuda_memory.range.byte_size
    np.testing.assert_array_equal(block.array[:size], expected)
    copies = answer.report.copies
    assert copies.device_to_host_bytes >= RGB_BYTES
    assert copies.host_to_device_bytes >= size


async def test_frames_of_a_stream_share_a_ring_that_is_opened_once(
    folder: Path, caller: OtherProcess
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

    async with gpu_server(folder) as served:
        answers = [reply.frame async for reply in served.removal.RemoveStream(messages())][1:]
        assert DRIVER.open_now == 0  # closed with the stream
    assert DRIVER.opened - before == 1
    assert [frame.frame_id for frame in answers] == list(range(frames))
    assert {frame.report.copies.host_to_device for frame in answers} == {0}
    found = block.array.reshape(frames, room)[:, RGB_BYTES:]
    for index in range(frames):
        assert (found[index] == 20 * index).all()


async def test_a_bad_frame_fails_alone(folder: Path, caller: OtherProcess) -> None:
    good, _ = caller.share(HALF)

    async def messages() -> AsyncIterator[removal_pb2.RemoveStreamRequest]:
        yield config_message()
        for index, handle in enumerate((good, bytes(64), good)):
            frame = removal_pb2.Frame(frame_id=index, image=image_at(handle))
            yield removal_pb2.RemoveStreamRequest(frame=frame)

    async with gpu_server(folder) as served:
        answers = [reply.frame async for reply in served.removal.RemoveStream(messages())][1:]
    assert [frame.HasField("error") for frame in answers] == [False, True, False]
    assert "does not open" in answers[1].error.message or "cannot be opened" in (
        answers[1].error.message
    )


async def test_the_model_on_the_memorys_gpu_gets_the_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.app.targets", lambda config: (Target(0), Target(1)))
    second = OtherProcess(gpu=1)
    came, _ = second.share(HALF)
    async with gpu_server(folder) as served:
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


# What is refused.


async def test_it_is_off_unless_the_operator_allows_it(folder: Path, caller: OtherProcess) -> None:
    came, _ = caller.share(HALF)
    async with gpu_server(folder, cuda_shared_memory=False) as served:
        code, said = await refused(served, image=image_at(came))
        assert code == "PERMISSION_DENIED"
        assert "--cuda-shared-memory" in said
        code, _ = await refused(served, image=image_at(came), options=alpha_to(place(came)))
        assert code == "PERMISSION_DENIED"


async def test_callers_on_other_machines_are_refused(
    folder: Path, caller: OtherProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, _ = caller.share(HALF)
    monkeypatch.setattr("server.cuda_memory.door.is_local", lambda peer: False)
    async with gpu_server(folder) as served:
        code, said = await refused(served, image=image_at(came))
    assert code == "PERMISSION_DENIED"
    assert "same machine" in said


async def test_a_server_on_the_cpu_says_so(serve: Serve) -> None:
    async with serve(cuda_shared_memory=True) as served:
        for message in (
            removal_pb2.RemoveRequest(image=image_at(bytes(64))),
            removal_pb2.RemoveRequest(
                image=image_pb2.Image(
                    raw=image_pb2.RawImage(
                        layout=image_at(b"").cuda_memory.layout, data=HALF.tobytes()
                    )
                ),
                options=alpha_to(place(bytes(64))),
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.removal.Remove(message)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert "model 'tiny' of this server runs on the CPU" in str(caught.value.details())


async def test_what_makes_no_sense_is_refused(folder: Path, caller: OtherProcess) -> None:
    no_layout = image_pb2.CudaMemoryImage(range=place(bytes(64)))
    async with gpu_server(folder) as served:
        for image, code, sentence in (
            (image_at(b""), "INVALID_ARGUMENT", "handle has 0 bytes"),
            (image_at(bytes(63)), "INVALID_ARGUMENT", "handle has 63 bytes"),
            (image_at(bytes(64)), "INVALID_ARGUMENT", "invalid resource handle"),
            (image_at(bytes(64), byte_size=0), "INVALID_ARGUMENT", "0 came"),
            (image_at(bytes(64), byte_size=9), "INVALID_ARGUMENT", "9 came"),
            (image_at(bytes(64), device=5), "FAILED_PRECONDITION", "GPU 5, but model 'tiny'"),
            (image_pb2.Image(cuda_memory=no_layout), "INVALID_ARGUMENT", "has no layout"),
        ):
            found, said = await refused(served, image=image)
            assert found == code
            assert sentence in said
        assert (await served.removal.Remove(request())).result.encoded.data


async def test_ranges_past_the_allocations_true_end_are_refused(
    folder: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    goes, block = caller.share(ALPHA_BYTES)
    async with gpu_server(folder) as served:
        for offset in (1, RGB_BYTES, 2**40, 2**64 - RGB_BYTES, 2**64 - 1):
            code, said = await refused(served, image=image_at(came, offset))
            assert code == "INVALID_ARGUMENT"
            assert f"has {RGB_BYTES} bytes" in said
            options = alpha_to(place(goes, offset))
            code, said = await refused(served, image=image_at(came), options=options)
            assert code == "INVALID_ARGUMENT"
            assert f"has {ALPHA_BYTES} bytes" in said
    assert (block.array == 0xFF).all()


async def test_a_result_that_does_not_fit_is_refused_before_the_model_runs(
    folder: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    goes, block = caller.share(ALPHA_BYTES)
    async with gpu_server(folder) as served:
        runs = len(served.registry.engines["tiny"].bound)
        code, said = await refused(
            served,
            image=image_at(came),
            options=alpha_to(place(goes, byte_size=ALPHA_BYTES - 1)),
        )
        assert code == "INVALID_ARGUMENT"
        assert (
            f"{ALPHA_BYTES} bytes (64x48), the range in CUDA memory has {ALPHA_BYTES - 1}" in said
        )
        assert len(served.registry.engines["tiny"].bound) == runs
        # What the host finishes has its size at the end.
        crop = options_pb2.Crop(canvas_width=200, canvas_height=200)
        code, said = await refused(
            served, image=image_at(came), options=alpha_to(place(goes), crop=crop)
        )
        assert code == "INVALID_ARGUMENT"
        assert "40000 bytes (200x200)" in said
    assert (block.array == 0xFF).all()


async def test_results_that_are_no_pixels_do_not_go_there(
    folder: Path, caller: OtherProcess
) -> None:
    goes, _ = caller.share(1 << 20)
    async with gpu_server(folder) as served:
        for options in (
            options_pb2.RemoveOptions(format=options_pb2.FORMAT_PNG),
            options_pb2.RemoveOptions(output=options_pb2.OUTPUT_MASK_RLE),
        ):
            options.cuda_memory_output.CopyFrom(place(goes))
            code, said = await refused(served, image=image_at(goes), options=options)
            assert code == "INVALID_ARGUMENT"
            assert "FORMAT_RAW" in said
        both = alpha_to(place(goes))
        both.shared_memory_output.name = "x"
        code, said = await refused(served, image=image_at(goes), options=both)
        assert "one place" in said


async def test_a_stream_names_a_range_for_each_frame(folder: Path, caller: OtherProcess) -> None:
    goes, _ = caller.share(ALPHA_BYTES)

    async def messages() -> AsyncIterator[removal_pb2.RemoveStreamRequest]:
        yield config_message(options=alpha_to(place(goes)))

    async with gpu_server(folder) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [reply async for reply in served.removal.RemoveStream(messages())]
    assert "Frame.cuda_memory_output" in str(caught.value.details())


async def test_the_servers_own_memory_does_not_open(folder: Path) -> None:
    own = OtherProcess(is_this_process=True)
    came, _ = own.share(HALF)
    async with gpu_server(folder) as served:
        code, said = await refused(served, image=image_at(came))
    assert code == "INVALID_ARGUMENT"
    assert "CUDA memory cannot be opened" in said


async def test_a_process_that_is_gone_is_named_and_the_server_goes_on(
    folder: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    async with gpu_server(folder) as served:
        await remove(served, image=image_at(came))
        caller.ends()
        code, said = await refused(served, image=image_at(came))
        assert code == "INVALID_ARGUMENT"
        assert "invalid resource handle" in said
        assert (await served.removal.Remove(request())).result.encoded.data


async def test_only_images_of_remove_and_frames_are_taken_from_there(
    folder: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    async with gpu_server(folder) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Segment(removal_pb2.SegmentRequest(image=image_at(came)))
        assert "image.cuda_memory is not taken here" in str(caught.value.details())
        trimap = options_pb2.RemoveOptions(subject=options_pb2.Subject(trimap=image_at(came)))
        _, said = await refused(served, image=image_at(came), options=trimap)
        assert "cuda_memory is not taken here" in said


# Nothing stays open.


async def test_callers_who_leave_keep_no_handle_open(folder: Path, caller: OtherProcess) -> None:
    came, _ = caller.share(HALF)
    goes, _ = caller.share(ALPHA_BYTES)
    async with gpu_server(folder, record=False) as served:
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


async def test_a_failed_run_closes_what_it_had_open(folder: Path, caller: OtherProcess) -> None:
    came, _ = caller.share(HALF)
    goes, _ = caller.share(ALPHA_BYTES)
    async with gpu_server(folder) as served:
        served.registry.engines["tiny"].refuses = True
        served.registry.loaded["tiny"].batches[0]._graphs.clear()
        served.registry.loaded["tiny"].batches[1]._graphs.clear()
        code, _ = await refused(served, image=image_at(came), options=alpha_to(place(goes)))
    assert code == "INTERNAL"


async def test_a_stream_that_is_cut_off_closes_its_ring(folder: Path, caller: OtherProcess) -> None:
    came, _ = caller.share(HALF)

    async with gpu_server(folder) as served:
        call = served.removal.RemoveStream()
        await call.write(config_message())
        frame = removal_pb2.Frame(frame_id=1, image=image_at(came))
        await call.write(removal_pb2.RemoveStreamRequest(frame=frame))
        await call.read()
        await call.read()
        assert DRIVER.open_now == 1
        call.cancel()
        await eventually(lambda: DRIVER.open_now == 0, "the ring is closed")


def test_there_are_no_more_handles_open_than_there_may_be() -> None:
    device, process = EmulatedDevice(), OtherProcess()
    leases = Leases(most=2)
    handles = [process.share(10)[0] for _ in range(3)]
    first, again, second = (leases.take(device, handles[at]) for at in (0, 0, 1))
    with pytest.raises(SharedMemoryWrong, match="2 CUDA IPC handles are open"):
        leases.take(device, handles[2])
    first.close()
    first.close()  # a second time is nothing
    assert len(leases) == 2
    again.close()
    leases.take(device, handles[2]).close()
    second.close()
    assert len(leases) == DRIVER.open_now == 0


def test_a_device_that_refuses_to_close_is_no_error_of_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, process = EmulatedDevice(), OtherProcess()
    leases = Leases()
    lease = leases.take(device, process.share(10)[0])
    address = lease.memory.address

    def refuses(memory: object) -> None:
        raise DeviceError("the device is lost")

    monkeypatch.setattr(device, "close_handle", refuses)
    lease.close()
    assert len(leases) == 0
    DRIVER.close(address)


def test_a_stream_holds_few_handles_and_lets_the_oldest_go() -> None:
    from server.cuda_memory.leases import Held

    device, process = EmulatedDevice(), OtherProcess()
    leases = Leases()
    held = Held(leases, most=2)
    handles = [process.share(10)[0] for _ in range(3)]
    for at in (0, 1, 0, 2):  # 1 is the one used longest ago
        held.take(device, handles[at]).close()
    assert len(leases) == 2
    before = DRIVER.opened
    held.take(device, handles[0]).close()
    assert DRIVER.opened == before
    held.close()
    held.take(device, handles[0]).close()
    assert len(leases) == DRIVER.open_now == 0
