"""Listing, loading and unloading models over the wire, and what health says of them meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mattestream.v1 import models_pb2, options_pb2, removal_pb2
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.fakes import eventually, request
from tests.server.serving import Serve, Served, serving

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health_of(served: Served, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(served.channel)
    reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(reply.status)


async def load(served: Served, name: str) -> models_pb2.Model:
    return (await served.models.LoadModel(models_pb2.LoadModelRequest(name=name))).model


async def unload(served: Served, name: str) -> models_pb2.Model:
    return (await served.models.UnloadModel(models_pb2.UnloadModelRequest(name=name))).model


async def remove_with(served: Served, model: str) -> removal_pb2.RemoveResponse:
    return await served.removal.Remove(request(options=options_pb2.RemoveOptions(model=model)))


async def failure(awaitable: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Status and sentence that a call ended with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value.code(), str(caught.value.details())


async def test_every_model_is_listed_by_name_with_its_state(served: Served) -> None:
    models = (await served.models.ListModels(models_pb2.ListModelsRequest())).models
    assert [model.name for model in models] == ["batched", "other", "tiny"]
    tiny = models[2]
    assert tiny.is_default
    assert tiny.state == models_pb2.MODEL_STATE_READY
    assert tiny.engine.startswith("onnxruntime ")
    assert (tiny.device, tiny.max_batch) == ("cpu", 1)
    assert (tiny.input_width, tiny.input_height) == (32, 32)
    assert models[1].state == models_pb2.MODEL_STATE_AVAILABLE
    assert models[1].engine == ""


async def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    write_tiny_model(tmp_path, "tiny")
    write_tiny_model(tmp_path, "secretive", license="Secret-NC-1.0", commercial_use=False)
    write_tiny_model(tmp_path, "hollow")
    (tmp_path / "hollow.onnx").unlink()
    async with serving(tmp_path) as served:
        for name, reason in (("secretive", "Secret-NC-1.0"), ("hollow", "hollow")):
            model = (await served.models.GetModel(models_pb2.GetModelRequest(name=name))).model
            assert model.state == models_pb2.MODEL_STATE_UNAVAILABLE
            assert reason in model.reason
            code, sentence = await failure(load(served, name))
            assert code is grpc.StatusCode.FAILED_PRECONDITION
            assert reason in sentence


async def test_an_unknown_model_is_not_found_and_the_near_names_are_given(served: Served) -> None:
    for call in (
        remove_with(served, "tinny"),
        load(served, "tinny"),
        unload(served, "tinny"),
        served.models.GetModel(models_pb2.GetModelRequest(name="tinny")),
    ):
        code, sentence = await failure(call)
        assert code is grpc.StatusCode.NOT_FOUND
        assert "'tiny'" in sentence


async def test_a_model_without_a_name_is_asked_for_one(served: Served) -> None:
    code, sentence = await failure(load(served, ""))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert sentence.startswith("name is empty")


async def test_a_model_that_is_not_loaded_says_how_to_load_it(served: Served) -> None:
    code, sentence = await failure(remove_with(served, "other"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert sentence == (
        "model 'other' is not loaded: load it with LoadModel, or start the server with --load other"
    )


async def test_a_loaded_model_serves_and_an_unloaded_one_no_more(served: Served) -> None:
    assert (await load(served, "other")).state == models_pb2.MODEL_STATE_READY
    assert (await remove_with(served, "other")).report.model.name == "other"
    assert (await unload(served, "other")).state == models_pb2.MODEL_STATE_AVAILABLE
    code, _ = await failure(remove_with(served, "other"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION


async def test_models_named_in_the_config_are_loaded_at_the_start(serve: Serve) -> None:
    async with serve(load=("other",)) as served:
        assert (await remove_with(served, "other")).report.model.name == "other"


async def test_many_who_ask_at_once_share_one_load(served: Served) -> None:
    served.registry.may_load.clear()
    loads = [asyncio.ensure_future(load(served, "other")) for _ in range(5)]
    await eventually(lambda: "other" in served.registry.loads, "the load has begun")
    code, sentence = await failure(remove_with(served, "other"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "is loading" in sentence
    state = (await served.models.GetModel(models_pb2.GetModelRequest(name="other"))).model.state
    assert state == models_pb2.MODEL_STATE_LOADING
    served.registry.may_load.set()
    models = await asyncio.gather(*loads)
    assert {model.state for model in models} == {models_pb2.MODEL_STATE_READY}
    assert served.registry.loads.count("other") == 1


async def test_a_caller_who_leaves_does_not_stop_the_load_for_the_others(served: Served) -> None:
    served.registry.may_load.clear()
    leaving = served.models.LoadModel(models_pb2.LoadModelRequest(name="other"))
    staying = asyncio.ensure_future(load(served, "other"))
    await eventually(lambda: "other" in served.registry.loads, "the load has begun")
    leaving.cancel()
    await eventually(lambda: served.app.gate.calls == 1, "one has left")
    served.registry.may_load.set()
    assert (await staying).state == models_pb2.MODEL_STATE_READY


async def test_unloading_waits_for_the_work_under_way(served: Served) -> None:
    await load(served, "other")
    engine = served.registry.engines["other"]
    engine.open.clear()
    working = asyncio.ensure_future(remove_with(served, "other"))
    await eventually(lambda: engine.running == 1, "an image runs")
    unloading = asyncio.ensure_future(unload(served, "other"))
    await eventually(lambda: served.app.host.state("other")[0] == "unloading", "it is unloading")
    assert await health_of(served, "models/other") == NOT_SERVING
    code, _ = await failure(remove_with(served, "other"))
    assert code is grpc.StatusCode.UNAVAILABLE
    again = asyncio.ensure_future(load(served, "other"))
    assert not unloading.done()
    engine.open.set()
    assert (await working).report.model.name == "other"
    await unloading
    assert (await again).state == models_pb2.MODEL_STATE_READY


async def test_the_default_model_stays(served: Served) -> None:
    code, sentence = await failure(unload(served, "tiny"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "is the server's default" in sentence
    await served.removal.Remove(request())


async def test_a_batched_model_takes_what_waits_in_one_run(serve: Serve) -> None:
    async with serve(model="batched", concurrent_runs=1) as served:
        engine = served.registry.engines["batched"]
        runs = len(engine.batches)
        engine.open.clear()
        first = served.removal.Remove(request())
        await eventually(lambda: engine.running == 1, "the first runs")
        rest = [served.removal.Remove(request()) for _ in range(3)]
        batcher = served.app.host.state("batched")[1].first.batcher
        await eventually(lambda: batcher.waiting == 3, "three wait")
        engine.open.set()
        replies = [await call for call in (first, *rest)]
        assert engine.batches[runs:] == [1, 3]
        assert [reply.report.batch_size for reply in replies] == [1, 3, 3, 3]


async def test_the_config_can_cut_batches_down(serve: Serve) -> None:
    async with serve(model="batched", max_batch=2) as served:
        model = (await served.models.GetModel(models_pb2.GetModelRequest(name="batched"))).model
        assert model.max_batch == 2


async def test_health_knows_the_server_the_service_and_each_model(served: Served) -> None:
    for service in ("", "mattestream.v1.BackgroundRemovalService", "models/tiny"):
        assert await health_of(served, service) == SERVING
    code, _ = await failure(health_of(served, "models/other"))
    assert code is grpc.StatusCode.NOT_FOUND
    await load(served, "other")
    assert await health_of(served, "models/other") == SERVING
    await unload(served, "other")
    assert await health_of(served, "models/other") == NOT_SERVING


async def test_reflection_lists_the_services_and_describes_them(served: Served) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="mattestream.v1.BackgroundRemovalService"
        ),
    ]
    listed, described = [reply async for reply in stub.ServerReflectionInfo(iter(asked))]
    names = {service.name for service in listed.list_services_response.service}
    assert names == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
        "mattestream.v1.BackgroundRemovalService",
        "mattestream.v1.ModelsService",
    }
    file = descriptor_pb2.FileDescriptorProto.FromString(
        described.file_descriptor_response.file_descriptor_proto[0]
    )
    assert file.name == "mattestream/v1/removal.proto"
