"""Shared memory by registered names: in and out with the real client, and every way to abuse it."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import serialize_byte_tensor

from tests.server.fakes import eventually, picture
from tests.server.serving import Serve, Served
from tests.server.triton import asks, client_of, failure, half_white, pixels, tensor

ON = {"shared_memory": ("mstest-",)}
RGB = half_white()
ALPHA_BYTES = RGB.shape[0] * RGB.shape[1]

Region = Callable[..., "shm.SharedMemoryRegion"]


@pytest.fixture
def region() -> Iterator[Region]:
    """Makes regions as `tritonclient` does; `.key` is the object's name."""
    made = []

    def make(nbytes: int, prefix: str = "mstest-") -> shm.SharedMemoryRegion:
        key = f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"
        handle = shm.create_shared_memory_region("mine", key, nbytes, create_only=True)
        handle.key = key
        made.append(handle)
        return handle

    yield make
    for handle in made:
        shm.destroy_shared_memory_region(handle)


def shared_pixels(name: str, nbytes: int = RGB.nbytes, offset: int = 0) -> triton.InferInput:
    source = triton.InferInput("pixels", [1, *RGB.shape], "UINT8")
    source.set_shared_memory(name, nbytes, offset)
    return source


def shared_output(name: str, region_: str, nbytes: int, offset: int = 0) -> object:
    wanted = triton.InferRequestedOutput(name)
    wanted.set_shared_memory(region_, nbytes, offset)
    return wanted


@pytest.mark.parametrize("slash", ["", "/"])
async def test_pixels_go_in_and_an_alpha_out_without_a_byte_in_the_messages(
    serve: Serve, region: Region, slash: str
) -> None:
    mine = region(RGB.nbytes + ALPHA_BYTES)
    shm.set_shared_memory_region(mine, [RGB])
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", slash + mine.key, mine_bytes(mine))
        answer = await client.infer(
            "tiny_pipeline",
            [shared_pixels("mine")],
            outputs=[shared_output("alpha", "mine", ALPHA_BYTES, RGB.nbytes)],
        )
        said = answer.get_response()
        assert list(said.raw_output_contents) == [b""]
        assert list(said.outputs[0].shape) == [1, *RGB.shape[:2]]
        placed = said.outputs[0].parameters
        assert placed["shared_memory_region"].string_param == "mine"
        assert placed["shared_memory_offset"].int64_param == RGB.nbytes
        assert placed["shared_memory_byte_size"].int64_param == ALPHA_BYTES
        alpha = shm.get_contents_as_numpy(mine, np.uint8, RGB.shape[:2], RGB.nbytes).copy()
        by_message = await client.infer("tiny_pipeline", [pixels(RGB)], outputs=asks("alpha"))
        np.testing.assert_array_equal(alpha, by_message.as_numpy("alpha")[0])


def mine_bytes(handle: shm.SharedMemoryRegion) -> int:
    return int(handle._mpsm_handle.size)


async def test_all_outputs_may_go_to_shared_memory_beside_others_in_the_answer(
    serve: Serve, region: Region
) -> None:
    mine = region(1 << 20)
    shm.set_shared_memory_region(mine, [RGB])
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, 1 << 20)
        answer = await client.infer(
            "tiny_pipeline",
            [shared_pixels("mine")],
            outputs=[
                shared_output("alpha", "mine", ALPHA_BYTES, 100_000),
                *asks("rgba"),
                shared_output("result", "mine", 100_000, 200_000),
                shared_output("report", "mine", 100_000, 300_000),
            ],
        )
        said = answer.get_response()
        assert [len(data) > 0 for data in said.raw_output_contents] == [False, True, False, False]
        alpha = shm.get_contents_as_numpy(mine, np.uint8, RGB.shape[:2], 100_000).copy()
        np.testing.assert_array_equal(alpha, answer.as_numpy("rgba")[0, ..., 3])
        png = shm.get_contents_as_numpy(mine, np.object_, [1, 1], 200_000)
        assert png[0, 0].startswith(b"\x89PNG")
        size = said.outputs[2].parameters["shared_memory_byte_size"].int64_param
        assert size == 4 + len(png[0, 0])


async def test_files_and_prepared_tensors_lie_in_shared_memory_too(
    serve: Serve, region: Region
) -> None:
    both = np.empty((2, 1), object)
    both[:, 0] = (picture(96, 64), picture(48, 32))
    packed = serialize_byte_tensor(both)
    data = packed.item()
    batch = np.random.default_rng(1).normal(size=(2, 3, 32, 32)).astype(np.float32)
    mine = region(len(data) + batch.nbytes * 2)
    shm.set_shared_memory_region(mine, [packed])
    shm.set_shared_memory_region(mine, [batch], len(data))
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, mine_bytes(mine))
        image = triton.InferInput("image", [2, 1], "BYTES")
        image.set_shared_memory("mine", len(data))
        answer = await client.infer("tiny_pipeline", [image], outputs=asks("result"))
        assert answer.as_numpy("result").shape == (2, 1)
        source = triton.InferInput("image", batch.shape, "FP32")
        source.set_shared_memory("mine", batch.nbytes, len(data))
        after = len(data) + batch.nbytes
        wanted = shared_output("alpha", "mine", 2 * 32 * 32 * 4, after)
        await client.infer("tiny", [source], outputs=[wanted])
        raw = shm.get_contents_as_numpy(mine, np.float32, (2, 1, 32, 32), after).copy()
        np.testing.assert_allclose(raw, batch.mean(axis=1, keepdims=True), atol=1e-5)


async def test_regions_are_listed_and_forgotten_by_name_or_all(
    serve: Serve, region: Region
) -> None:
    mine = region(1000)
    async with serve(**ON) as served, client_of(served) as client:
        for name in ("a", "b", "c"):
            await client.register_system_shared_memory(name, mine.key, 500, offset=200)
        listed = (await client.get_system_shared_memory_status()).regions
        assert sorted(listed) == ["a", "b", "c"]
        assert (listed["a"].key, listed["a"].offset, listed["a"].byte_size) == (mine.key, 200, 500)
        await client.unregister_system_shared_memory("a")
        assert (await failure(client.get_system_shared_memory_status("a")))[0] == "NOT_FOUND"
        await client.unregister_system_shared_memory()
        assert not (await client.get_system_shared_memory_status()).regions
        await client.unregister_system_shared_memory("a")  # is not there already


async def test_it_is_off_unless_the_operator_names_prefixes(served: Served) -> None:
    async with client_of(served) as client:
        for call in (
            client.register_system_shared_memory("a", "mstest-x", 10),
            client.get_system_shared_memory_status(),
            client.infer("tiny_pipeline", [shared_pixels("a")]),
        ):
            code, sentence = await failure(call)
            assert (code, "--shared-memory" in sentence) == ("PERMISSION_DENIED", True)
        # perf_analyzer clears up before it begins, whether it is on or not.
        await client.unregister_system_shared_memory()


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("other-name", "PERMISSION_DENIED"),
        ("../etc/passwd", "PERMISSION_DENIED"),
        ("mstest-/../../etc/passwd", "PERMISSION_DENIED"),
        ("", "PERMISSION_DENIED"),
        ("mstest-nothing-here", "INVALID_ARGUMENT"),
    ],
)
async def test_foreign_and_missing_objects_are_refused(serve: Serve, key: str, code: str) -> None:
    async with serve(**ON) as served, client_of(served) as client:
        got, sentence = await failure(client.register_system_shared_memory("mine", key, 10))
        assert got == code, sentence
        assert not (await client.get_system_shared_memory_status()).regions


@pytest.mark.parametrize(
    ("offset", "nbytes"), [(0, 1001), (1000, 1), (2**63, 10), (0, 2**64 - 1), (0, 0)]
)
async def test_a_range_outside_of_its_object_cannot_be_registered(
    serve: Serve, region: Region, offset: int, nbytes: int
) -> None:
    mine = region(1000)
    async with serve(**ON) as served, client_of(served) as client:
        code, _ = await failure(
            client.register_system_shared_memory("mine", mine.key, nbytes, offset)
        )
        assert code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("nbytes", "offset"),
    [
        (RGB.nbytes, 1),  # past the region, not past the object
        (RGB.nbytes, 2**62),
        (2**62, 0),
        (RGB.nbytes - 3, 0),
        (0, 0),
    ],
)
async def test_a_range_outside_of_its_region_is_refused(
    serve: Serve, region: Region, nbytes: int, offset: int
) -> None:
    mine = region(RGB.nbytes + 100)
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, RGB.nbytes)
        source = shared_pixels("mine", nbytes, offset)
        code, _ = await failure(client.infer("tiny_pipeline", [source], outputs=asks("alpha")))
        assert code == "INVALID_ARGUMENT"
        good = await client.infer("tiny_pipeline", [shared_pixels("mine")], outputs=asks("alpha"))
        assert good.as_numpy("alpha") is not None


async def test_negative_ranges_and_odd_parameters_are_refused(serve: Serve, region: Region) -> None:
    mine = region(RGB.nbytes)
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, RGB.nbytes)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
        for parameters in (
            {"shared_memory_region": "mine", "shared_memory_byte_size": -1},
            {"shared_memory_region": "mine", "shared_memory_byte_size": "all"},
            {"shared_memory_region": "mine"},
            {"shared_memory_region": 5, "shared_memory_byte_size": 10},
            {"shared_memory_byte_size": 10},
            {
                "shared_memory_region": "mine",
                "shared_memory_byte_size": 10,
                "shared_memory_offset": -1,
            },
            {"shared_memory_handle": "mine"},
        ):
            request = service_pb2.ModelInferRequest(model_name="tiny_pipeline")
            source = request.inputs.add(name="pixels", datatype="UINT8", shape=[1, *RGB.shape])
            for name, value in parameters.items():
                kind = "string_param" if isinstance(value, str) else "int64_param"
                setattr(source.parameters[name], kind, value)
            with pytest.raises(Exception, match="INVALID_ARGUMENT"):
                await stub.ModelInfer(request)


async def test_a_name_can_be_registered_once_and_unknown_ones_are_not_found(
    serve: Serve, region: Region
) -> None:
    mine, other = region(1000), region(2000)
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, 1000)
        again = client.register_system_shared_memory("mine", other.key, 2000)
        assert (await failure(again))[0] == "ALREADY_EXISTS"
        listed = (await client.get_system_shared_memory_status("mine")).regions
        assert listed["mine"].key == mine.key
        call = client.infer("tiny_pipeline", [shared_pixels("nobodys")])
        assert (await failure(call))[0] == "NOT_FOUND"


async def test_a_region_that_is_unregistered_in_use_serves_its_request_to_the_end(
    serve: Serve, region: Region
) -> None:
    mine = region(RGB.nbytes + ALPHA_BYTES)
    shm.set_shared_memory_region(mine, [RGB])
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, mine_bytes(mine))
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        wanted = shared_output("alpha", "mine", ALPHA_BYTES, RGB.nbytes)
        call = asyncio.create_task(
            client.infer("tiny_pipeline", [shared_pixels("mine")], outputs=[wanted])
        )
        await eventually(lambda: engine.running == 1, "in work")
        await client.unregister_system_shared_memory("mine")
        engine.open.set()
        await call
        alpha = shm.get_contents_as_numpy(mine, np.uint8, RGB.shape[:2], RGB.nbytes).copy()
        assert alpha[0, -1] == 255
        assert (await failure(client.infer("tiny_pipeline", [shared_pixels("mine")])))[
            0
        ] == "NOT_FOUND"


async def test_a_region_that_is_cut_short_in_use_fails_its_request_alone(
    serve: Serve, region: Region
) -> None:
    mine = region(RGB.nbytes + ALPHA_BYTES)
    shm.set_shared_memory_region(mine, [RGB])
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, mine_bytes(mine))
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        wanted = shared_output("alpha", "mine", ALPHA_BYTES, RGB.nbytes)
        call = asyncio.create_task(
            client.infer("tiny_pipeline", [shared_pixels("mine")], outputs=[wanted])
        )
        await eventually(lambda: engine.running == 1, "in work")
        os.truncate(Path("/dev/shm") / mine.key, 100)
        engine.open.set()
        assert (await failure(call))[0] == "INVALID_ARGUMENT"
        os.truncate(Path("/dev/shm") / mine.key, mine_bytes(mine))
        assert await client.infer("tiny_pipeline", [pixels(RGB)], outputs=asks("alpha"))
    assert served.app.admission.bytes == 0


async def test_an_output_that_does_not_fit_is_refused_before_the_network_runs(
    serve: Serve, region: Region
) -> None:
    mine = region(4096)
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, 4096)
        engine = served.registry.engines["tiny"]
        engine.batches.clear()
        batch = np.zeros((2, 3, 32, 32), np.float32)
        wanted = shared_output("alpha", "mine", 4096)
        call = client.infer("tiny", [tensor("image", batch)], outputs=[wanted])
        code, sentence = await failure(call)
        assert (code, "8192 bytes" in sentence) == ("INVALID_ARGUMENT", True)
        assert not engine.batches
        for name in ("alpha", "rgba", "result"):
            wanted = shared_output(name, "mine", 20)
            call = client.infer("tiny_pipeline", [pixels(RGB)], outputs=[wanted])
            assert (await failure(call))[0] == "INVALID_ARGUMENT", name


async def test_lengths_of_files_that_go_past_their_range_are_refused(
    serve: Serve, region: Region
) -> None:
    mine = region(1000)
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, 1000)
        for head, nbytes in ((b"\xff\xff\xff\xff", 1000), (b"\x10\0\0\0", 10), (b"\0\0", 2)):
            shm.set_shared_memory_region(mine, [np.frombuffer(head, np.uint8)])
            image = triton.InferInput("image", [1, 1], "BYTES")
            image.set_shared_memory("mine", nbytes)
            assert (await failure(client.infer("tiny_pipeline", [image])))[0] == "INVALID_ARGUMENT"


async def test_another_key_sees_and_uses_none_of_mine(
    serve: Serve, region: Region, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-enough-characters\nanother-key-of-enough-characters\n")
    mine = region(RGB.nbytes)
    one = {"x-api-key": "a-key-of-enough-characters"}
    other = {"x-api-key": "another-key-of-enough-characters"}
    async with serve(api_keys_file=keys, **ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, RGB.nbytes, headers=one)
        assert not (await client.get_system_shared_memory_status(headers=other)).regions
        call = client.infer("tiny_pipeline", [shared_pixels("mine")], headers=other)
        assert (await failure(call))[0] == "NOT_FOUND"
        await client.unregister_system_shared_memory(headers=other)
        assert (await client.get_system_shared_memory_status(headers=one)).regions


async def test_registrations_are_bounded_and_those_of_dead_callers_make_room(
    serve: Serve, region: Region
) -> None:
    mine = region(1000)
    async with serve(**ON) as served, client_of(served) as client:
        dead = Path("/dev/shm") / f"mstest-dead-{secrets.token_hex(4)}"
        dead.write_bytes(bytes(10))
        await client.register_system_shared_memory("dead", dead.name, 10)
        dead.unlink()
        for number in range(127):
            await client.register_system_shared_memory(f"r{number}", mine.key, 10)
        await client.register_system_shared_memory("one more", mine.key, 10)
        code, sentence = await failure(
            client.register_system_shared_memory("too many", mine.key, 10)
        )
        assert (code, "128" in sentence) == ("INVALID_ARGUMENT", True)
        assert "dead" not in (await client.get_system_shared_memory_status()).regions


async def test_a_server_that_stops_lets_every_region_go(serve: Serve, region: Region) -> None:
    mine = region(1000)
    before = open_descriptors(mine.key)
    async with serve(**ON) as served, client_of(served) as client:
        await client.register_system_shared_memory("mine", mine.key, 1000)
        assert open_descriptors(mine.key) == before + 1
    assert open_descriptors(mine.key) == before


def open_descriptors(key: str) -> int:
    """Of this process, which is the server too, to the object."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except FileNotFoundError:  # the listing's own
            continue
    return sum(link == f"/dev/shm/{key}" for link in links)
