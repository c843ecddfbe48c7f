"""The batcher by itself: how batches form, and that one image's trouble stays its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from server.batcher import Batcher, BatcherClosed
from server.deadline import Deadline, DeadlineExpired
from server.workers import Stage, Workers
from tests.server.fakes import PATIENCE_S, ManualClock, eventually


class Gate:
    """A model whose runs wait; alpha is the image's mean. `batches` lists what ran."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[list[float]] = []
        self.running = 0
        self.most_running = 0
        self.error: Exception | None = None
        self.poison: float | None = None  # a batch with an image of this mean fails
        self.on_poison: Callable[[], None] = lambda: None

    def run(self, images: list[np.ndarray]) -> np.ndarray:
        batch = np.concatenate(images)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        self.batches.append([float(image.mean()) for image in batch])
        assert self.open.wait(PATIENCE_S)
        self.running -= 1
        if self.error is not None:
            raise self.error
        if self.poison in self.batches[-1]:
            self.on_poison()
            raise ValueError("poison")
        return batch.mean(axis=1)


def image(value: float) -> np.ndarray:
    return np.full((1, 3, 2, 2), value, np.float32)  # NCHW


@asynccontextmanager
async def batching(
    *, max_batch: int = 4, runs: int = 1, **more: object
) -> AsyncIterator[tuple[Gate, Batcher]]:
    gate = Gate()
    workers = Workers(4)
    workers.start()
    batcher = Batcher(
        gate.run,
        workers.lane(Stage.RUN),
        max_batch=max_batch,
        max_concurrent_runs=runs,
        **more,  # type: ignore[arg-type]
    )
    try:
        yield gate, batcher
    finally:
        gate.open.set()
        await batcher.close()
        workers.close()


def infer(batcher: Batcher, value: float, deadline: Deadline | None = None) -> asyncio.Task:
    return asyncio.create_task(batcher.infer(image(value), deadline or Deadline.after(60)))


async def test_a_lone_image_runs_at_once() -> None:
    async with batching() as (gate, batcher):
        gate.open.set()
        inferred = await infer(batcher, 0.5)
        assert inferred.answer.tolist() == [[0.5, 0.5], [0.5, 0.5]]
        assert inferred.batch_size == 1
        assert inferred.infer_ms >= 0
        assert gate.batches == [[0.5]]


async def test_a_batch_is_made_of_what_waits_when_the_engine_gets_free() -> None:
    sizes: list[int] = []
    async with batching(on_batch=sizes.append) as (gate, batcher):
        tasks = [infer(batcher, value) for value in range(6)]
        await eventually(lambda: gate.running == 1, "the first runs")
        await eventually(lambda: batcher.waiting == 5, "the others wait")
        gate.open.set()
        answers = await asyncio.gather(*tasks)
        assert gate.batches == [[0], [1, 2, 3, 4], [5]]
        assert sizes == [1, 4, 1]
        assert [float(answer.answer[0, 0]) for answer in answers] == [0, 1, 2, 3, 4, 5]
        assert [answer.batch_size for answer in answers] == [1, 4, 4, 4, 4, 1]


async def test_no_more_runs_at_once_than_the_engine_wants() -> None:
    async with batching(max_batch=1, runs=2) as (gate, batcher):
        tasks = [infer(batcher, value) for value in range(5)]
        await eventually(lambda: gate.running == 2, "two run")
        assert batcher.waiting == 3
        gate.open.set()
        await asyncio.gather(*tasks)
        assert gate.most_running == 2


async def test_a_cancelled_image_leaves_the_queue_and_costs_nothing() -> None:
    async with batching() as (gate, batcher):
        first, second, third = (infer(batcher, value) for value in range(3))
        await eventually(lambda: gate.running == 1, "the first runs")
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert batcher.waiting == 1
        gate.open.set()
        await asyncio.gather(first, third)
        assert gate.batches == [[0], [2]]


async def test_a_cancelled_image_that_runs_is_waited_for_and_the_loop_lives_on() -> None:
    async with batching() as (gate, batcher):
        first, second = infer(batcher, 0), infer(batcher, 1)
        await eventually(lambda: gate.running == 1, "the first runs")
        first.cancel()
        await asyncio.sleep(0)
        assert not first.done()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second).batch_size == 1


async def test_an_image_whose_time_ran_out_in_the_queue_is_not_run() -> None:
    clock = ManualClock()
    async with batching(clock=clock) as (gate, batcher):
        first = infer(batcher, 0, Deadline.after(100, clock))
        await eventually(lambda: gate.running == 1, "the first runs")
        late = infer(batcher, 1, Deadline.after(2, clock))
        third = infer(batcher, 2, Deadline.after(100, clock))
        await eventually(lambda: batcher.waiting == 2, "two wait")
        clock.advance(3)
        gate.open.set()
        with pytest.raises(DeadlineExpired, match=r"deadline of 2 s passed while waiting for the"):
            await late
        await asyncio.gather(first, third)
        assert gate.batches == [[0], [2]]


async def test_a_failed_run_fails_its_images_and_no_others() -> None:
    async with batching() as (gate, batcher):
        first = infer(batcher, 0)
        await eventually(lambda: gate.running == 1, "the first runs")
        gate.error = ValueError("out of memory")
        gate.open.set()
        with pytest.raises(ValueError, match="out of memory"):
            await first
        gate.error = None
        assert (await infer(batcher, 1)).batch_size == 1


async def test_one_image_that_the_model_cannot_take_fails_alone() -> None:
    sizes: list[int] = []
    async with batching(on_batch=sizes.append) as (gate, batcher):
        first = infer(batcher, 0)
        await eventually(lambda: gate.running == 1, "the first runs")
        batch = [infer(batcher, value) for value in (1, 2, 3)]
        await eventually(lambda: batcher.waiting == 3, "three wait")
        gate.poison = 2
        gate.open.set()
        await first
        good, bad, other = await asyncio.gather(*batch, return_exceptions=True)
        assert isinstance(bad, ValueError)
        assert [float(answer.answer[0, 0]) for answer in (good, other)] == [1, 3]  # type: ignore[union-attr]
        assert good.batch_size == 1  # type: ignore[union-attr]
        assert gate.batches == [[0], [1, 2, 3], [1], [2], [3]]
        assert sizes == [1, 3, 1, 1, 1]
        assert (await infer(batcher, 4)).batch_size == 1


async def test_an_image_of_a_failed_batch_is_not_run_again_when_its_time_is_over() -> None:
    clock = ManualClock()
    async with batching(clock=clock) as (gate, batcher):
        first = infer(batcher, 0)
        await eventually(lambda: gate.running == 1, "the first runs")
        late = infer(batcher, 1, Deadline.after(2, clock))
        patient = infer(batcher, 2, Deadline.after(100, clock))
        await eventually(lambda: batcher.waiting == 2, "two wait")
        gate.poison = 2
        gate.on_poison = lambda: clock.advance(3)
        gate.open.set()
        await first
        with pytest.raises(DeadlineExpired):
            await late
        with pytest.raises(ValueError, match="poison"):
            await patient
        assert gate.batches == [[0], [1, 2], [2]]


async def test_every_image_of_a_failed_batch_gets_the_error_though_one_was_cancelled() -> None:
    async with batching() as (gate, batcher):
        first = infer(batcher, 0)
        await eventually(lambda: gate.running == 1, "the first runs")
        batch = [infer(batcher, value) for value in (1, 2, 3)]
        await eventually(lambda: batcher.waiting == 3, "three wait")
        gate.open.set()
        await first
        gate.error = ValueError("broken")
        batch[0].cancel()
        outcomes = await asyncio.gather(*batch, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        # The race between the error and the run's start is the engine's; none is left unanswered.
        assert len(outcomes) == 3


async def test_closing_fails_what_waits_and_waits_for_what_runs() -> None:
    async with batching() as (gate, batcher):
        first, second = infer(batcher, 0), infer(batcher, 1)
        await eventually(lambda: gate.running == 1, "the first runs")
        closing = asyncio.create_task(batcher.close())
        with pytest.raises(BatcherClosed):
            await second
        assert not closing.done()
        gate.open.set()
        await closing
        assert (await first).batch_size == 1
        with pytest.raises(BatcherClosed):
            await infer(batcher, 2)
