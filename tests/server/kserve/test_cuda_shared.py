"""CUDA shared memory by registered names: the real client's calls, on the emulated device, and
every way to abuse them. Its own CUDA module needs a GPU; its calls only take a handle's bytes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from server.app import App
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.emulated_ipc import DRIVER, OtherProcess
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.device.served import serving
from tests.server.fakes import eventually
from tests.server.serving import Serve
from tests.server.triton import asks, client_of, failure, half_white, pixels, tensor

RGB = half_white()
ALPHA_BYTES = RGB.shape[0] * RGB.shape[1]


@dataclass
class Gpu:
    """A server on a GPU, and the real client."""

    app: App
    registry: EmulatedRegistry
    client: triton_aio.InferenceServerClient

    async def register(self, name: str, handle: bytes, nbytes: int, device_id: int = 0) -> None:
        encoded = base64.b64encode(handle)  # as tritonclient's get_raw_handle gives it
        await self.client.register_cuda_shared_memory(name, encoded, device_id, nbytes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, "tiny", max_batch=4)
    return made


@asynccontextmanager
async def gpu(folder: Path, **settings: object) -> AsyncIterator[Gpu]:
    allowed = {"cuda_shared_memory": True}
    async with (
        serving(folder, **{**allowed, **settings}) as (app, registry, _),
        triton_aio.InferenceServerClient(f"127.0.0.1:{app.port}") as client,
    ):
        yield Gpu(app, registry, client)


def shared_pixels(name: str, offset: int = 0, images: int = 1) -> triton.InferInput:
    source = triton.InferInput("pixels", [images, *RGB.shape], "UINT8")
    source.set_shared_memory(name, images * RGB.nbytes, offset)
    return source


def output_in(output: str, region: str, nbytes: int, offset: int = 0) -> object:
    wanted = triton.InferRequestedOutput(output)
    wanted.set_shared_memory(region, nbytes, offset)
    return wanted


async def test_pixels_go_in_and_an_alpha_out_and_none_leaves_the_device(
    folder: Path, caller: OtherProcess
) -> None:
    content = np.concatenate([RGB.reshape(-1), np.full(ALPHA_BYTES + 3, 7, np.uint8)])
    handle, block = caller.share(content)
    async with gpu(folder) as served:
        await served.register("mine", handle, content.nbytes)
        answer = await served.client.infer(
            "tiny_pipeline",
            [shared_pixels("mine")],
            outputs=[
                output_in("alpha", "mine", ALPHA_BYTES + 1, RGB.nbytes + 1),
                *asks("report"),
            ],
        )
        by_message = await served.client.infer(
            "tiny_pipeline", [pixels(RGB)], outputs=asks("alpha")
        )
    said = answer.get_response()
    assert said.raw_output_contents[0] == b""
    assert list(said.outputs[0].shape) == [1, *RGB.shape[:2]]
    placed = said.outputs[0].parameters
    assert placed["shared_memory_region"].string_param == "mine"
    assert placed["shared_memory_offset"].int64_param == RGB.nbytes + 1
    assert placed["shared_memory_byte_size"].int64_param == ALPHA_BYTES
    found = block.array[RGB.nbytes + 1 : RGB.nbytes + 1 + ALPHA_BYTES]
    np.testing.assert_array_equal(found, by_message.as_numpy("alpha").reshape(-1))
    assert block.array[RGB.nbytes] == block.array[-2] == 7
    report = answer.as_numpy("report")[0, 0].decode()
    assert '"device_to_host_bytes": "256"' in report
    assert '"host_to_device"' not in report


async def test_several_pictures_and_cut_outs(folder: Path, caller: OtherProcess) -> None:
    handle, _ = caller.share(np.stack([RGB, 255 - RGB]))
    goes, block = caller.share(2 * 4 * ALPHA_BYTES)
    async with gpu(folder) as served:
        await served.register("in", handle, 2 * RGB.nbytes)
        await served.register("out", goes, 2 * 4 * ALPHA_BYTES)
        answer = await served.client.infer(
            "tiny_pipeline",
            [shared_pixels("in", images=2)],
            outputs=[output_in("rgba", "out", 2 * 4 * ALPHA_BYTES), *asks("alpha")],
        )
    alpha = answer.as_numpy("alpha")
    assert alpha.shape == (2, *RGB.shape[:2])
    rgba = block.array.reshape(2, *RGB.shape[:2], 4)
    np.testing.assert_array_equal(rgba[..., 3], alpha)


async def test_a_bare_network_takes_and_gives_tensors_there(
    folder: Path, caller: OtherProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = np.random.default_rng(1).normal(size=(2, 3, 32, 32)).astype(np.float32)
    handle, _ = caller.share(batch.view(np.uint8))
    out_bytes = 2 * 32 * 32 * 4
    goes, block = caller.share(out_bytes)
    also, other = caller.share(out_bytes)
    source = triton.InferInput("image", batch.shape, "FP32")
    source.set_shared_memory("in", batch.nbytes)
    async with gpu(folder) as served:
        await served.register("in", handle, batch.nbytes)
        await served.register("out", goes, out_bytes)
        await served.register("other", also, out_bytes)
        device = served.registry.loaded["tiny"].device
        with monkeypatch.context() as patched:  # not a byte by way of the host

            def refuses(*args: object) -> None:
                raise AssertionError("a copy between host and device")

            patched.setattr(device, "copy_in", refuses)
            patched.setattr(device, "copy_out", refuses)
            await served.client.infer(
                "tiny", [source], outputs=[output_in("alpha", "out", out_bytes)]
            )
        # Either alone, too.
        there_and_back = await served.client.infer("tiny", [source])
        await served.client.infer(
            "tiny",
            [tensor("image", batch)],
            outputs=[output_in("alpha", "other", out_bytes)],
        )
        expected = await served.client.infer("tiny", [tensor("image", batch)])
        too_small = served.client.infer(
            "tiny", [source], outputs=[output_in("alpha", "out", out_bytes - 1)]
        )
        assert (await failure(too_small))[0] == "INVALID_ARGUMENT"
        wrong = triton.InferInput("image", [1, *batch.shape[1:]], "FP32")
        wrong.set_shared_memory("in", batch.nbytes)
        assert "bytes, 24576 came" in (await failure(served.client.infer("tiny", [wrong])))[1]
    for written in (block, other):
        found = written.array.view(np.float32).reshape(2, 1, 32, 32)
        np.testing.assert_array_equal(found, expected.as_numpy("alpha"))
    np.testing.assert_array_equal(there_and_back.as_numpy("alpha"), expected.as_numpy("alpha"))


async def test_where_the_engine_computes_in_another_type_tensors_go_by_way_of_the_host(
    folder: Path, caller: OtherProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.kserve.in_place.FP32_ELEMENT", "of no engine here")
    batch = np.random.default_rng(4).normal(size=(1, 3, 32, 32)).astype(np.float32)
    handle, block = caller.share(np.concatenate([batch.view(np.uint8).ravel()] * 2))
    source = triton.InferInput("image", batch.shape, "FP32")
    source.set_shared_memory("mine", batch.nbytes)
    async with gpu(folder) as served:
        await served.register("mine", handle, 2 * batch.nbytes)
        wanted = [output_in("alpha", "mine", 32 * 32 * 4, batch.nbytes)]
        await served.client.infer("tiny", [source], outputs=wanted)
        assert DRIVER.open_now == 1
    found = block.array[batch.nbytes :][: 32 * 32 * 4].view(np.float32).reshape(32, 32)
    np.testing.assert_allclose(found, batch[0].mean(axis=0), atol=1e-5)


async def test_regions_are_listed_forgotten_and_opened_once(
    folder: Path, caller: OtherProcess
) -> None:
    handle, _ = caller.share(RGB)
    before = DRIVER.opened
    async with gpu(folder) as served:
        assert "cuda_shared_memory" in (await served.client.get_server_metadata()).extensions
        for name in ("a", "b"):
            await served.register(name, handle, 500)
        await served.register("c", handle, RGB.nbytes)
        for _ in range(3):
            await served.client.infer("tiny_pipeline", [shared_pixels("c")], outputs=asks("alpha"))
        listed = (await served.client.get_cuda_shared_memory_status()).regions
        assert sorted(listed) == ["a", "b", "c"]
        assert (listed["a"].device_id, listed["a"].byte_size) == (0, 500)
        assert DRIVER.opened - before == DRIVER.open_now == 1
        await served.client.unregister_cuda_shared_memory("a")
        code, _ = await failure(served.client.get_cuda_shared_memory_status("a"))
        assert code == "NOT_FOUND"
        await served.client.unregister_cuda_shared_memory()
        assert DRIVER.open_now == 0
        assert not (await served.client.get_cuda_shared_memory_status()).regions
        await served.client.unregister_cuda_shared_memory("a")  # is not there already


async def test_what_is_registered_goes_with_the_server(folder: Path, caller: OtherProcess) -> None:
    handle, _ = caller.share(RGB)
    async with gpu(folder) as served:
        await served.register("mine", handle, RGB.nbytes)
        assert DRIVER.open_now == 1
    assert DRIVER.open_now == 0


async def test_names_are_one_set_with_those_of_system_shared_memory(
    folder: Path, caller: OtherProcess, tmp_path: Path
) -> None:
    handle, _ = caller.share(RGB)
    async with gpu(folder, shared_memory=("mstest-",)) as served:
        await served.register("mine", handle, RGB.nbytes)
        call = served.client.register_system_shared_memory("mine", "mstest-x", 10)
        assert (await failure(call))[0] == "ALREADY_EXISTS"
        assert (await failure(served.register("mine", handle, 1)))[0] == "ALREADY_EXISTS"
        assert (await failure(served.register("", handle, 1)))[0] == "INVALID_ARGUMENT"
        both = await asyncio.gather(
            *(served.register("twice", handle, 10) for _ in range(2)), return_exceptions=True
        )
        assert sum(each is None for each in both) == 1


async def test_what_does_not_open_or_fit_is_refused(folder: Path, caller: OtherProcess) -> None:
    handle, _ = caller.share(RGB)
    own, _ = OtherProcess(is_this_process=True).share(RGB)
    second, _ = OtherProcess(gpu=1).share(RGB)
    async with gpu(folder) as served:
        for made_up, nbytes, device_id, code, sentence in (
            (bytes(64), 10, 0, "INVALID_ARGUMENT", "cannot be opened"),
            (bytes(63), 10, 0, "INVALID_ARGUMENT", "has 63 bytes"),
            (own, 10, 0, "INVALID_ARGUMENT", "cannot be opened"),
            (second, 10, 0, "INVALID_ARGUMENT", "lies on GPU 1"),
            (handle, 0, 0, "INVALID_ARGUMENT", "byte_size is 0"),
            (handle, RGB.nbytes + 1, 0, "INVALID_ARGUMENT", f"allocation has {RGB.nbytes}"),
            (handle, 10, 3, "FAILED_PRECONDITION", "memory of GPU 3"),
            (handle, 10, -1, "FAILED_PRECONDITION", "memory of GPU -1"),
        ):
            found, said = await failure(served.register("x", made_up, nbytes, device_id))
            assert found == code, said
            assert sentence in said
        assert DRIVER.open_now == 0
        await served.register("x", handle, RGB.nbytes - 1)
        for offset in (0, 2**62):
            call = served.client.infer(
                "tiny_pipeline", [shared_pixels("x", offset)], outputs=asks("alpha")
            )
            code, said = await failure(call)
            assert code == "INVALID_ARGUMENT"
            assert "outside of region 'x'" in said
        # Its owner ends: what is open stays, and does not open again.
        caller.ends()
        small = triton.InferInput("pixels", [1, 2, 2, 3], "UINT8")
        small.set_shared_memory("x", 12)
        assert await served.client.infer("tiny_pipeline", [small], outputs=asks("alpha"))
        await served.client.unregister_cuda_shared_memory("x")
        assert (await failure(served.register("x", handle, 10)))[0] == "INVALID_ARGUMENT"


async def test_files_are_for_the_host(folder: Path, caller: OtherProcess) -> None:
    handle, _ = caller.share(1000)
    async with gpu(folder) as served:
        await served.register("mine", handle, 1000)
        image = triton.InferInput("image", [1, 1], "BYTES")
        image.set_shared_memory("mine", 1000)
        code, said = await failure(served.client.infer("tiny_pipeline", [image]))
        assert code == "INVALID_ARGUMENT"
        assert "files are for the host" in said
        for name in ("result", "report"):
            wanted = [output_in(name, "mine", 1000)]
            call = served.client.infer("tiny_pipeline", [pixels(RGB)], outputs=wanted)
            assert "which holds pixels" in (await failure(call))[1]


async def test_a_region_unregistered_in_use_stays_open_until_its_request_is_done(
    folder: Path, caller: OtherProcess
) -> None:
    handle, block = caller.share(np.concatenate([RGB.reshape(-1), np.zeros(ALPHA_BYTES, np.uint8)]))
    async with gpu(folder, record=False) as served:
        await served.register("mine", handle, block.nbytes)
        engine = served.registry.engines["tiny"]
        engine.is_open.clear()
        wanted = [output_in("alpha", "mine", ALPHA_BYTES, RGB.nbytes)]
        call = asyncio.ensure_future(
            served.client.infer("tiny_pipeline", [shared_pixels("mine")], outputs=wanted)
        )
        await eventually(lambda: engine.running == 1, "a run is on the device")
        await served.client.unregister_cuda_shared_memory("mine")
        assert DRIVER.open_now == 1
        engine.is_open.set()
        await call
        assert DRIVER.open_now == 0
    assert block.array[RGB.nbytes :].max() == 255


async def test_each_callers_regions_are_its_own(
    folder: Path, caller: OtherProcess, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(
        "".join(f"sha256:{hashlib.sha256(key.encode()).hexdigest()}\n" for key in ("one", "two"))
    )
    handle, _ = caller.share(RGB)
    encoded = base64.b64encode(handle)
    async with gpu(folder, api_keys_file=keys) as served:
        ones, twos = {"x-api-key": "one"}, {"x-api-key": "two"}
        await served.client.register_cuda_shared_memory(
            "mine", encoded, 0, RGB.nbytes, headers=ones
        )
        listed = await served.client.get_cuda_shared_memory_status(headers=twos)
        assert not listed.regions
        call = served.client.infer("tiny_pipeline", [shared_pixels("mine")], headers=twos)
        assert (await failure(call))[0] == "NOT_FOUND"
        await served.client.unregister_cuda_shared_memory(headers=twos)
        assert DRIVER.open_now == 1


async def test_it_is_off_unless_the_operator_allows_it_and_for_this_machine_alone(
    folder: Path, caller: OtherProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle, _ = caller.share(RGB)
    async with gpu(folder, cuda_shared_memory=False) as served:
        code, said = await failure(served.register("mine", handle, 10))
        assert code == "PERMISSION_DENIED"
        assert "--cuda-shared-memory" in said
        assert "cuda_shared_memory" not in (await served.client.get_server_metadata()).extensions
        await served.client.unregister_cuda_shared_memory()  # perf_analyzer begins with it
    async with gpu(folder) as served:
        await served.register("mine", handle, RGB.nbytes)
        monkeypatch.setattr("server.cuda_memory.door.is_local", lambda peer: False)
        for call in (
            served.register("other", handle, 10),
            served.client.infer("tiny_pipeline", [shared_pixels("mine")]),
            served.client.get_cuda_shared_memory_status(),
            served.client.unregister_cuda_shared_memory(),
        ):
            assert (await failure(call))[0] == "PERMISSION_DENIED"


async def test_a_caller_registers_so_many_and_no_more(
    folder: Path, caller: OtherProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.kserve.cuda_regions.MOST_REGIONS", 2)
    handle, _ = caller.share(RGB)
    async with gpu(folder) as served:
        for name in ("a", "b"):
            await served.register(name, handle, 10)
        code, said = await failure(served.register("c", handle, 10))
    assert code == "INVALID_ARGUMENT"
    assert "2 CUDA regions are registered" in said


async def test_a_server_on_the_cpu_says_so(serve: Serve) -> None:
    async with serve(cuda_shared_memory=True) as served, client_of(served) as client:
        call = client.register_cuda_shared_memory("mine", base64.b64encode(bytes(64)), 0, 10)
        code, said = await failure(call)
        assert code == "FAILED_PRECONDITION"
        assert "the models of this server run on the CPU" in said
        assert "cuda_shared_memory" not in (await client.get_server_metadata()).extensions
        await client.unregister_cuda_shared_memory()
