"""What models have done: requests, images and runs, counted where they happen."""

from __future__ import annotations

import asyncio

import numpy as np

from tests.server.fakes import eventually, picture, request
from tests.server.serving import Serve, Served
from tests.server.triton import asks, client_of, failure, files, tensor


async def test_requests_and_their_times_are_counted_for_each_face(served: Served) -> None:
    async with client_of(served) as client:
        for _ in range(3):
            await client.infer("tiny_pipeline", [files(picture())], outputs=asks("alpha"))
        await failure(client.infer("tiny_pipeline", [files(b"broken")]))
        (said,) = (await client.get_inference_statistics("tiny_pipeline")).model_stats
        stats = said.inference_stats
        assert (stats.success.count, stats.fail.count) == (3, 1)
        assert stats.compute_input.count == stats.compute_infer.count == stats.queue.count == 3
        assert 0 < stats.compute_infer.ns < stats.success.ns
        assert said.last_inference > 0
        assert (said.inference_count, said.execution_count) == (3, 3)
        (other,) = (await client.get_inference_statistics("tiny")).model_stats
        assert other.inference_stats.success.count == other.inference_count == 0


async def test_runs_are_the_batchers_whoever_sent_the_images(served: Served) -> None:
    async with client_of(served) as client:
        await served.removal.Remove(request())
        (said,) = (await client.get_inference_statistics("tiny_pipeline")).model_stats
        assert (said.inference_count, said.inference_stats.success.count) == (1, 0)


async def test_a_batch_is_one_run_of_its_size(serve: Serve) -> None:
    async with serve(model="batched", threads=1) as served, client_of(served) as client:
        engine = served.registry.engines["batched"]
        engine.open.clear()
        one = np.zeros((1, 3, 32, 32), np.float32)
        first = asyncio.create_task(client.infer("batched", [tensor("image", one)]))
        await eventually(lambda: engine.running == 1, "the engine is taken")
        rest = [
            asyncio.create_task(client.infer("batched", [tensor("image", one)])) for _ in range(3)
        ]
        (replica,) = served.app.host.state("batched")[1].replicas  # type: ignore[union-attr]
        await eventually(lambda: replica.tensors.waiting == 3, "three wait")
        engine.open.set()
        await asyncio.gather(first, *rest)
        (said,) = (await client.get_inference_statistics("batched")).model_stats
        assert (said.inference_count, said.execution_count) == (4, 2)
        assert [(each.batch_size, each.compute_infer.count) for each in said.batch_stats] == [
            (1, 1),
            (3, 1),
        ]


async def test_all_loaded_models_are_told_of_when_none_is_named(serve: Serve) -> None:
    async with serve(load=("other",)) as served, client_of(served) as client:
        said = (await client.get_inference_statistics()).model_stats
        assert [each.name for each in said] == ["other", "other_pipeline", "tiny", "tiny_pipeline"]


async def test_a_model_that_is_loaded_again_begins_anew(served: Served) -> None:
    async with client_of(served) as client:
        await client.load_model("other")
        await client.infer("other_pipeline", [files(picture())], outputs=asks("alpha"))
        await client.unload_model("other")
        assert (await failure(client.get_inference_statistics("other")))[0] == "UNAVAILABLE"
        await client.load_model("other")
        (said,) = (await client.get_inference_statistics("other_pipeline")).model_stats
        assert said.inference_count == said.inference_stats.success.count == 0
