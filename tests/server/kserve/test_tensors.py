"""A model as a bare network: tensors in every form that the protocol knows, and every wrong one."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.server.fakes import eventually
from tests.server.serving import Serve, Served
from tests.server.triton import asks, client_of, failure, tensor


def noise(images: int, side: int = 32) -> NDArray[np.float32]:
    """(N, 3, side, side): nothing that an image could be."""
    return np.random.default_rng(3).normal(size=(images, 3, side, side)).astype(np.float32)


def expected(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the tiny network makes of it."""
    return batch.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("images", [1, 5])
async def test_the_network_answers_what_it_computes_and_no_more(
    served: Served, images: int
) -> None:
    batch = noise(images)
    async with client_of(served) as client:
        answer = await client.infer("tiny", [tensor("image", batch)], request_id="mine")
        assert answer.get_response().id == "mine"
        assert answer.get_response().model_version == "1"
        # Below 0 and above 1: nothing is activated or clipped.
        np.testing.assert_allclose(answer.as_numpy("alpha"), expected(batch), atol=1e-5)


async def test_images_of_one_request_and_of_others_share_runs(serve: Serve) -> None:
    async with serve(model="batched") as served, client_of(served) as client:
        engine = served.registry.engines["batched"]
        engine.open.clear()
        engine.batches.clear()
        batch = noise(2)
        first = [
            asyncio.create_task(client.infer("batched", [tensor("image", noise(1))]))
            for _ in range(engine.max_concurrent_runs)
        ]
        await eventually(lambda: engine.running == engine.max_concurrent_runs, "all runs taken")
        waiting = [
            asyncio.create_task(client.infer("batched", [tensor("image", batch)])) for _ in range(2)
        ]
        (replica,) = served.app.host.state("batched")[1].replicas  # type: ignore[union-attr]
        await eventually(lambda: replica.tensors.waiting == 4, "four images wait")
        engine.open.set()
        for answer in await asyncio.gather(*waiting):
            np.testing.assert_allclose(answer.as_numpy("alpha"), expected(batch), atol=1e-5)
        await asyncio.gather(*first)
        assert max(engine.batches) == 4


async def test_elements_may_come_one_by_one(served: Served) -> None:
    batch = noise(1)
    request = service_pb2.ModelInferRequest(model_name="tiny")
    source = request.inputs.add(name="image", datatype="FP32", shape=batch.shape)
    source.contents.fp32_contents.extend(batch.ravel())
    stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
    answer = await stub.ModelInfer(request)
    got = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(1, 1, 32, 32)
    np.testing.assert_allclose(got, expected(batch), atol=1e-5)


def wrong(**changes: object) -> service_pb2.ModelInferRequest:
    """A request for the tiny network with something changed."""
    batch = noise(1)
    fields: dict[str, object] = {
        "name": "image",
        "datatype": "FP32",
        "shape": list(batch.shape),
        "raw": [batch.tobytes()],
        "contents": (),
        "outputs": (),
        "parameters": {},
        "copies": 1,
    } | changes
    request = service_pb2.ModelInferRequest(model_name="tiny")
    for _ in range(fields["copies"]):  # type: ignore[call-overload]
        source = request.inputs.add(
            name=fields["name"],  # type: ignore[arg-type]
            datatype=fields["datatype"],  # type: ignore[arg-type]
            shape=fields["shape"],  # type: ignore[arg-type]
        )
        source.contents.fp32_contents.extend(fields["contents"])  # type: ignore[arg-type]
        if not fields["contents"]:
            source.ClearField("contents")
    request.raw_input_contents.extend(fields["raw"])  # type: ignore[arg-type]
    for name in fields["outputs"]:  # type: ignore[attr-defined]
        request.outputs.add(name=name)
    for name, value in fields["parameters"].items():  # type: ignore[attr-defined]
        kind = {str: "string_param", bool: "bool_param", float: "double_param"}.get(
            type(value), "int64_param"
        )
        setattr(request.parameters[name], kind, value)
    return request


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (wrong(name="img"), "INVALID_ARGUMENT", "'img'"),
        (wrong(copies=0, raw=[]), "INVALID_ARGUMENT", "missing"),
        (wrong(copies=2, raw=[b"1", b"2"]), "INVALID_ARGUMENT", "twice"),
        (wrong(datatype="FP16"), "INVALID_ARGUMENT", "takes FP32"),
        (wrong(datatype="FLOAT"), "INVALID_ARGUMENT", "'FLOAT'"),
        (wrong(datatype="BYTES"), "INVALID_ARGUMENT", "takes FP32"),
        (wrong(shape=[3, 32, 32]), "INVALID_ARGUMENT", "[N, 3, 32, 32]"),
        (wrong(shape=[0, 3, 32, 32]), "INVALID_ARGUMENT", "1 or more"),
        (wrong(shape=[-1, 3, 32, 32]), "INVALID_ARGUMENT", "1 or more"),
        (wrong(shape=[65, 3, 32, 32]), "INVALID_ARGUMENT", "1 to 64"),
        (wrong(shape=[2**40, 2**40]), "INVALID_ARGUMENT", "1 or more"),
        (wrong(shape=[]), "INVALID_ARGUMENT", "axes"),
        (wrong(raw=[b"short"]), "INVALID_ARGUMENT", "12288 bytes, 5 came"),
        (wrong(raw=[]), "INVALID_ARGUMENT", "no data"),
        (wrong(raw=[b"1", b"2"]), "INVALID_ARGUMENT", "more than there are inputs"),
        (wrong(contents=[1.0]), "INVALID_ARGUMENT", "once"),
        (wrong(raw=[], contents=[1.0]), "INVALID_ARGUMENT", "3072 elements"),
        (wrong(outputs=["mask"]), "INVALID_ARGUMENT", "'mask'"),
        (wrong(outputs=["alpha", "alpha"]), "INVALID_ARGUMENT", "twice"),
        (wrong(parameters={"format": "png"}), "INVALID_ARGUMENT", "'format'"),
        (wrong(parameters={"triton_x": 1}), "INVALID_ARGUMENT", "reserved"),
        (wrong(parameters={"priority": 9}), "INVALID_ARGUMENT", "0 to 3"),
        (wrong(parameters={"priority": "high"}), "INVALID_ARGUMENT", "whole number"),
        (wrong(parameters={"timeout": -1}), "INVALID_ARGUMENT", "whole number"),
        (wrong(parameters={"sequence_id": 5}), "UNIMPLEMENTED", "sequence_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_wrong_request_is_refused_with_a_sentence(
    served: Served, request_: service_pb2.ModelInferRequest, code: str, words: str
) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
    async with client_of(served) as client:
        with pytest.raises(Exception, match="StatusCode") as caught:
            await stub.ModelInfer(request_)
        assert caught.value.code().name == code  # type: ignore[attr-defined]
        assert words in caught.value.details()  # type: ignore[attr-defined]
        assert await client.infer("tiny", [tensor("image", noise(1))])
    await eventually(lambda: served.app.admission.bytes == 0, "all is free")
    assert served.app.admission.images == 0


async def test_harmless_parameters_change_nothing(served: Served) -> None:
    parameters = {"triton_enable_empty_final_response": True, "binary_data_output": True}
    request = wrong(parameters={**parameters, "sequence_id": 0, "priority": 1, "timeout": 10**7})
    stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
    assert (await stub.ModelInfer(request)).outputs[0].name == "alpha"


async def test_classes_are_refused_by_name(served: Served) -> None:
    async with client_of(served) as client:
        wanted = [triton.InferRequestedOutput("alpha", class_count=3)]
        call = client.infer("tiny", [tensor("image", noise(1))], outputs=wanted)
        assert (await failure(call))[0] == "UNIMPLEMENTED"


async def test_an_engine_that_fails_tells_nothing_of_itself(served: Served) -> None:
    async with client_of(served) as client:
        served.registry.engines["tiny"].error = RuntimeError("secret path")
        code, sentence = await failure(client.infer("tiny", [tensor("image", noise(3))]))
        assert code == "INTERNAL"
        assert "secret" not in sentence
        served.registry.engines["tiny"].error = None
        assert await client.infer("tiny", [tensor("image", noise(1))], outputs=asks("alpha"))


async def test_a_timeout_parameter_ends_the_wait(serve: Serve) -> None:
    async with serve(threads=1) as served, client_of(served) as client:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        first = asyncio.create_task(client.infer("tiny", [tensor("image", noise(1))]))
        await eventually(lambda: engine.running == 1, "the engine is taken")
        late = client.infer("tiny", [tensor("image", noise(1))], timeout=20_000)
        code, sentence = await failure(late)
        assert (code, "0.02 s" in sentence) == ("DEADLINE_EXCEEDED", True)
        engine.open.set()
        await first


async def test_a_full_server_refuses_and_recovers(serve: Serve) -> None:
    async with serve(max_requests=1) as served, client_of(served) as client:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        first = asyncio.create_task(client.infer("tiny", [tensor("image", noise(1))]))
        await eventually(lambda: engine.running == 1, "the engine is taken")
        code, _ = await failure(client.infer("tiny", [tensor("image", noise(1))]))
        assert code == "RESOURCE_EXHAUSTED"
        engine.open.set()
        await first
        assert await client.infer("tiny", [tensor("image", noise(1))])


async def test_a_caller_that_leaves_frees_what_its_images_held(serve: Serve) -> None:
    async with serve(threads=1) as served, client_of(served) as client:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        leaving = asyncio.create_task(client.infer("tiny", [tensor("image", noise(8))]))
        await eventually(lambda: engine.running == 1, "the first image runs")
        leaving.cancel()
        (replica,) = served.app.host.state("tiny")[1].replicas  # type: ignore[union-attr]
        await eventually(lambda: replica.tensors.waiting == 0, "the others wait no more")
        engine.open.set()
        await eventually(lambda: served.app.admission.bytes == 0, "all is free")
        assert replica.users == 0


class Noted:
    """An engine that notes the first element of each image it runs."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.order: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.order += [float(image.flat[0]) for image in batch]
        return self._inner.run(batch)  # type: ignore[no-any-return]


async def test_a_higher_priority_goes_first(serve: Serve) -> None:
    async with serve(threads=1) as served, client_of(served) as client:
        engine = served.registry.engines["tiny"]
        engine._inner = noted = Noted(engine._inner)
        engine.open.clear()

        async def ask(priority: int) -> None:
            batch = np.full((1, 3, 32, 32), priority, np.float32)
            await client.infer("tiny", [tensor("image", batch)], priority=priority)

        tasks = [asyncio.create_task(ask(2))]
        await eventually(lambda: engine.running == 1, "the engine is taken")
        (replica,) = served.app.host.state("tiny")[1].replicas  # type: ignore[union-attr]
        for place, priority in enumerate((3, 0, 1), 1):  # 0 stands for 2, the default
            tasks.append(asyncio.create_task(ask(priority)))
            await eventually(lambda n=place: replica.tensors.waiting == n, "it waits")  # type: ignore[misc]
        engine.open.set()
        await asyncio.gather(*tasks)
        assert noted.order == [2, 1, 0, 3]
