"""Streams of requests: answered in their order, one each, whatever happens to one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.server.fakes import eventually, picture
from tests.server.serving import Serve, Served
from tests.server.triton import asks, client_of, files, tensor


def shade(value: float) -> dict[str, Any]:
    """A request of the network for an image of one shade."""
    return {
        "model_name": "tiny",
        "inputs": [tensor("image", np.full((1, 3, 32, 32), value, np.float32))],
        "request_id": f"{value}",
    }


async def each(*requests: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    for request in requests:
        yield request


async def answers(client: Any, *requests: dict[str, Any], **options: Any) -> list[Any]:
    return [pair async for pair in client.stream_infer(each(*requests), **options)]


def message(model: str = "tiny", request_id: str = "") -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    request.inputs.add(name="image", datatype="FP32", shape=[1, 3, 32, 32])
    request.raw_input_contents.append(bytes(4 * 3 * 32 * 32))
    return request


async def test_requests_are_answered_in_their_order_one_each(served: Served) -> None:
    async with client_of(served) as client:
        got = await answers(client, *(shade(value) for value in range(20)))
        assert [error for _, error in got] == [None] * 20
        shades = [result.as_numpy("alpha")[0, 0, 0, 0] for result, _ in got]
        np.testing.assert_allclose(shades, np.arange(20), rtol=1e-6)
        assert [result.get_response().id for result, _ in got] == [f"{n}" for n in range(20)]
        last = got[-1][0].get_response().parameters["triton_final_response"]
        assert last.bool_param
    await eventually(lambda: served.app.admission.bytes == 0, "all is free")


async def test_both_faces_share_a_stream(served: Served) -> None:
    pipeline = {
        "model_name": "tiny_pipeline",
        "inputs": [files(picture())],
        "outputs": asks("alpha"),
    }
    async with client_of(served) as client:
        (first, _), (second, _) = await answers(client, shade(0.5), pipeline)
        assert first.as_numpy("alpha").dtype == np.float32
        assert second.as_numpy("alpha").shape == (1, 64, 96)


async def test_a_bad_request_is_answered_with_its_error_and_the_stream_goes_on(
    served: Served,
) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
    bad = message(request_id="bad")
    bad.inputs[0].datatype = "FP16"
    stream = stub.ModelStreamInfer(iter([message(request_id="a"), bad, message(request_id="b")]))
    first, second, third = [each async for each in stream]
    assert (first.error_message, third.error_message) == ("", "")
    assert "takes FP32" in second.error_message
    told = second.infer_response
    assert (told.id, told.model_name, len(told.outputs)) == ("bad", "tiny", 0)
    assert third.infer_response.id == "b"


async def test_a_stream_that_wants_statuses_ends_with_the_first_error(served: Served) -> None:
    async with client_of(served) as client:
        requests = each(shade(1.0), {**shade(2.0), "model_name": "nothing"}, shade(3.0))
        stream = client.stream_infer(requests, headers={"triton_grpc_error": "true"})
        result, error = await anext(stream)
        assert (result is not None, error) == (True, None)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(stream)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "nothing" in str(caught.value.details())


async def test_a_field_that_is_not_known_fails_its_request_alone(served: Served) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
    newer = message()
    newer.MergeFromString(b"\xf8\x3f\x01")  # field 1023
    got = [each async for each in stub.ModelStreamInfer(iter([newer, message()]))]
    assert "1023" in got[0].error_message
    assert got[1].error_message == ""


async def test_a_client_that_does_not_read_stops_the_server_at_its_window(serve: Serve) -> None:
    async with serve(stream_window=2) as served:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        stream = stub.ModelStreamInfer()

        async def send() -> None:
            for _ in range(6):
                await stream.write(message())
            await stream.done_writing()

        sending = asyncio.create_task(send())
        await eventually(lambda: len(served.app.inference.streams) == 1, "open")
        await eventually(lambda: engine.running == 2, "two in work")
        (inside,) = served.app.inference.streams.open
        assert inside.frames_read == 2
        engine.open.set()
        got = [each async for each in stream]
        await sending
        assert len(got) == 6
        assert inside.most_in_window == 2


async def test_a_caller_that_leaves_ends_its_stream(served: Served) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
    engine = served.registry.engines["tiny"]
    engine.open.clear()
    stream = stub.ModelStreamInfer()
    await stream.write(message())
    await eventually(lambda: engine.running == 1, "in work")
    stream.cancel()
    engine.open.set()
    await eventually(lambda: len(served.app.inference.streams) == 0, "closed")
    await eventually(lambda: served.app.admission.bytes == 0, "all is free")


async def test_more_streams_than_there_may_be_are_refused(serve: Serve) -> None:
    async with serve(max_streams=1) as served:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
        first = stub.ModelStreamInfer()
        await first.write(message())
        await first.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ModelStreamInfer(iter([message()])).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await first.done_writing()
        assert await first.read() is grpc.aio.EOF


async def test_a_drain_answers_what_was_read_and_ends_the_stream(serve: Serve) -> None:
    async with serve(drain_s=0.4) as served:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(served.channel)
        stream = stub.ModelStreamInfer()
        await stream.write(message())
        await stream.read()
        draining = asyncio.create_task(served.app.drain())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await draining
