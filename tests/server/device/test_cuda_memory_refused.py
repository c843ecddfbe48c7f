"""Device memory of callers: every way to abuse it is refused with a sentence, while the server goes
on and no handle stays open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from tests.fakes.emulated_ipc import OtherProcess
from tests.server.device.cuda_callers import (
    ALPHA_BYTES,
    HALF,
    RGB_BYTES,
    alpha_to,
    gpu_server,
    image_at,
    place,
    refused,
    remove,
)
from tests.server.fakes import config_message, request
from tests.server.serving import Serve


async def test_it_is_off_unless_the_operator_allows_it(
    gpu_models: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    async with gpu_server(gpu_models, cuda_shared_memory=False) as served:
        code, said = await refused(served, image=image_at(came))
        assert code == "PERMISSION_DENIED"
        assert "--cuda-shared-memory" in said
        code, _ = await refused(served, image=image_at(came), options=alpha_to(place(came)))
        assert code == "PERMISSION_DENIED"


async def test_callers_on_other_machines_are_refused(
    gpu_models: Path, caller: OtherProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, _ = caller.share(HALF)
    monkeypatch.setattr("server.cuda_memory.door.is_local", lambda peer: False)
    async with gpu_server(gpu_models) as served:
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


async def test_what_makes_no_sense_is_refused(gpu_models: Path, caller: OtherProcess) -> None:
    no_layout = image_pb2.CudaMemoryImage(range=place(bytes(64)))
    async with gpu_server(gpu_models) as served:
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
    gpu_models: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    goes, block = caller.share(ALPHA_BYTES)
    async with gpu_server(gpu_models) as served:
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
    gpu_models: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    goes, block = caller.share(ALPHA_BYTES)
    async with gpu_server(gpu_models) as served:
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
    gpu_models: Path, caller: OtherProcess
) -> None:
    goes, _ = caller.share(1 << 20)
    async with gpu_server(gpu_models) as served:
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


async def test_a_stream_names_a_range_for_each_frame(
    gpu_models: Path, caller: OtherProcess
) -> None:
    goes, _ = caller.share(ALPHA_BYTES)

    async def messages() -> AsyncIterator[removal_pb2.RemoveStreamRequest]:
        yield config_message(options=alpha_to(place(goes)))

    async with gpu_server(gpu_models) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [reply async for reply in served.removal.RemoveStream(messages())]
    assert "Frame.cuda_memory_output" in str(caught.value.details())


async def test_the_servers_own_memory_does_not_open(gpu_models: Path) -> None:
    own = OtherProcess(is_this_process=True)
    came, _ = own.share(HALF)
    async with gpu_server(gpu_models) as served:
        code, said = await refused(served, image=image_at(came))
    assert code == "INVALID_ARGUMENT"
    assert "CUDA memory cannot be opened" in said


async def test_a_process_that_is_gone_is_named_and_the_server_goes_on(
    gpu_models: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    async with gpu_server(gpu_models) as served:
        await remove(served, image=image_at(came))
        caller.ends()
        code, said = await refused(served, image=image_at(came))
        assert code == "INVALID_ARGUMENT"
        assert "invalid resource handle" in said
        assert (await served.removal.Remove(request())).result.encoded.data


async def test_only_images_of_remove_and_frames_are_taken_from_there(
    gpu_models: Path, caller: OtherProcess
) -> None:
    came, _ = caller.share(HALF)
    async with gpu_server(gpu_models) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Segment(removal_pb2.SegmentRequest(image=image_at(came)))
        assert "image.cuda_memory is not taken here" in str(caught.value.details())
        trimap = options_pb2.RemoveOptions(subject=options_pb2.Subject(trimap=image_at(came)))
        _, said = await refused(served, image=image_at(came), options=trimap)
        assert "cuda_memory is not taken here" in said
