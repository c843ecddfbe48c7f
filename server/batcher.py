"""Opened images of one model, gathered into runs of its engine.

One batcher per loaded model; `server.remover` hands it an image and waits. There is no timer:
whenever a run slot is free, a batch is made of what waits, so a lone image never waits and batches
grow with the load. Which images go first is `server.fair_queue`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.batch_counts import BatchCounts
from server.deadline import Deadline
from server.fair_queue import FairQueue, Place
from server.workers import Lane, settled

# What a pipeline opens and what its run answers: `server.pipeline` has them, the batcher only hands
# them on.
Opened = Any
Answer = Any


class BatcherClosed(Exception):
    """The model was unloaded while the image waited."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """One image's answer and what its batch was like."""

    answer: Answer
    batch_size: int
    batch_wait_ms: float  # until the engine took it
    infer_ms: float  # of the whole batch


@dataclass(slots=True, eq=False)
class _Item:
    opened: Opened
    deadline: Deadline
    place: Place
    submitted_at: float
    future: asyncio.Future[Inferred] = field(init=False)
    is_running: bool = False

    def __post_init__(self) -> None:
        self.future = asyncio.get_running_loop().create_future()

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Batcher:
    """Forms batches and spreads their answers; lives on the event loop.

    Its queue holds admitted images only, so its bound is the config's `max_requests`.

    Args:
        run: the answers for opened images, in their order; called on `lane`, up to
            `max_concurrent_runs` at once.
        lane: where `run` runs: the shared workers for a CPU engine, a thread of its own for a GPU.
        max_batch: most images in one run.
        max_concurrent_runs: runs at once.
        on_batch: told the size of every batch, for the metrics.
    """

    def __init__(
        self,
        run: Callable[[list[Opened]], Sequence[Answer]],
        lane: Lane,
        *,
        max_batch: int,
        max_concurrent_runs: int,
        on_batch: Callable[[int], None] = lambda images: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._lane = lane
        self.max_batch = max_batch
        self._max_concurrent_runs = self._free_slots = max_concurrent_runs
        self._on_batch = on_batch
        self._clock = clock
        self._waiting: FairQueue[_Item] = FairQueue()
        self._runs: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.counts = BatchCounts()

    @property
    def waiting(self) -> int:
        """Images that no run has taken yet."""
        return len(self._waiting)

    @property
    def runs_in_place(self) -> bool:
        """True when a worker may run its own image at once: one image a run, and as many runs as
        there are workers, so that it never has to wait.
        """
        return self.max_batch == 1 and self._max_concurrent_runs >= self._lane.workers.threads

    def infer_in_place(self, opened: Opened) -> Inferred:
        """The answer for one opened image, run in the calling worker.

        Raises:
            EngineFailed: the run failed.
        """
        self._on_batch(1)
        answers, started_at, ended_at = self._run_timed([opened])
        return Inferred(answers[0], 1, 0.0, (ended_at - started_at) * 1e3)

    async def infer(
        self, opened: Opened, deadline: Deadline, place: Place | None = None
    ) -> Inferred:
        """The answer for one opened image.

        Args:
            opened: the image.
            deadline: after it no run takes the image.
            place: in the order of those that wait; None: by the deadline, for nobody in particular.

        Cancelled while it waits, it leaves the queue. Cancelled while it runs, this waits for the
        run: the caller may then free what the run read.

        Raises:
            DeadlineExpired: its time was over before a run could take it.
            EngineFailed: the run failed.
            BatcherClosed: the model was unloaded.
        """
        if self._is_closed:
            raise BatcherClosed("the model was unloaded while the image waited: send it again")
        place = place or Place(expires_at=deadline.expires_at)
        item = _Item(opened, deadline, place, self._clock())
        self._waiting.push(item, place)
        self._pump()
        try:
            await asyncio.wait({item.future})
        except asyncio.CancelledError:
            if item.is_running:
                await settled(item.future)
            elif item.future.cancel():
                self._waiting.remove(item, place)
            raise
        try:
            return item.future.result()
        finally:
            del item  # an error's traceback refers to this frame, see `server.workers`

    async def close(self) -> None:
        """Fails what waits and returns when no run is left."""
        self._is_closed = True
        while self._waiting:
            self._waiting.pop().fail(
                BatcherClosed("the model was unloaded while the image waited: send it again")
            )
        await settled(*self._runs)

    def _pump(self) -> None:
        while self._free_slots and (batch := self._take()):
            self._free_slots -= 1
            task = asyncio.create_task(self._run_batch(batch))
            self._runs.add(task)
            task.add_done_callback(self._run_ended)

    def _take(self) -> list[_Item]:
        """Up to `max_batch` images that are still wanted; the others are dropped on the way."""
        batch: list[_Item] = []
        while self._waiting and len(batch) < self.max_batch:
            item = self._waiting.pop()
            if item.future.done():
                continue
            if item.deadline.is_over:
                item.fail(item.deadline.expired("waiting for the model"))
                continue
            item.is_running = True
            batch.append(item)
        return batch

    def _run_ended(self, task: asyncio.Task[None]) -> None:
        self._runs.discard(task)
        self._free_slots += 1
        self._pump()

    async def _run_batch(self, batch: list[_Item]) -> None:
        """Resolves every image of the batch, with its answer or with its own error.

        One image can spoil a run for all that share it, so the images of a failed run are run
        again one by one, within its slot.
        """
        error = await self._try_run(batch)
        if error is None:
            return
        if len(batch) == 1:
            batch[0].fail(error)
            return
        del error  # its traceback holds the whole batch
        for item in batch:
            if item.deadline.is_over:
                item.fail(item.deadline.expired("waiting for the model"))
            else:
                await self._run_batch([item])

    async def _try_run(self, batch: list[_Item]) -> Exception | None:
        """Runs once; why it failed, or None and all images have their answer."""
        try:
            self._on_batch(len(batch))
            answers, started_at, ended_at = await self._lane.run(
                self._run_timed, [item.opened for item in batch]
            )
            for item, answer in zip(batch, answers, strict=True):
                if not item.future.done():
                    item.future.set_result(
                        Inferred(
                            answer=answer,
                            batch_size=len(batch),
                            batch_wait_ms=(started_at - item.submitted_at) * 1e3,
                            infer_ms=(ended_at - started_at) * 1e3,
                        )
                    )
        except asyncio.CancelledError:
            for item in batch:
                item.future.cancel()
            raise
        except Exception as error:  # whatever it was, it becomes an answer; the loop lives on
            return error
        return None

    def _run_timed(self, batch: list[Opened]) -> tuple[Sequence[Answer], float, float]:
        started_at = self._clock()
        answers = self._run(batch)
        ended_at = self._clock()
        self.counts.add(len(batch), ended_at - started_at)
        return answers, started_at, ended_at
