"""The threads that touch pixels: as many as there are cores, and what is nearly done goes first.

`server.remover` works on images with them and the batchers of CPU models run on them, so that
nothing oversubscribes the cores. Either way few images are decoded at a time: where a thread takes
an image through all stages in one go, one per thread; where batches form and the stages are jobs of
their own, about two per thread, because they go by stage. First come first served would decode all
64 admitted images before it finished one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ParamSpec, TypeVar

from server.fair_queue import FairQueue, Place

P = ParamSpec("P")
T = TypeVar("T")


class Stage(IntEnum):
    """What a job is for; the smaller goes first."""

    FINISH = 0
    RUN = 1
    OPEN = 2


_NO_ONES = Place()


class _Job(Future[T]):
    """A call that waits for a thread, and what came of it."""

    def __init__(self, call: Callable[[], T]) -> None:
        super().__init__()
        self._call: Callable[[], T] | None = call

    def cancel(self) -> bool:
        """True when the call will not be run; what it refers to is let go of at once, though the
        queue holds the job until its turn.
        """
        is_cancelled = super().cancel()
        if is_cancelled:
            self._call = None
        return is_cancelled

    def run(self) -> None:
        if not self.set_running_or_notify_cancel():
            return
        call, self._call = self._call, None
        assert call is not None
        try:
            result = call()
        except BaseException as error:  # the caller's to judge, not this thread's
            self.set_exception(error)
            # The error's traceback refers to this frame and the frame to the error: without this
            # the image would live until the next garbage collection.
            del self, call
        else:
            self.set_result(result)


class Workers:
    """A fixed number of threads over one queue for each stage; within a stage callers take turns,
    see `server.fair_queue`.

    The queues hold at most one call per admitted image, so their bound is the config's
    `max_requests`; of cancelled jobs an empty shell waits there for its turn.
    """

    def __init__(self, threads: int, *, name: str = "worker") -> None:
        self.threads = threads
        self._queues: dict[Stage, FairQueue[_Job[Any]]] = {stage: FairQueue() for stage in Stage}
        self._changed = threading.Condition()  # guards the queues and the flag
        self._is_closing = False
        self._running = [
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True)
            for index in range(threads)
        ]

    def start(self) -> None:
        """Starts the threads; once."""
        for thread in self._running:
            thread.start()

    def close(self) -> None:
        """Ends the threads when all that was submitted is done; blocks until then."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._running:
            if thread.is_alive():
                thread.join()

    def lane(self, stage: Stage) -> Lane:
        """These threads, for jobs of one stage."""
        return Lane(self, stage)

    def submit(
        self, stage: Stage, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """As `submit_for`, for nobody in particular: first come, first served."""
        return self.submit_for(_NO_ONES, stage, function, *args, **kwargs)

    def submit_for(
        self,
        place: Place,
        stage: Stage,
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        """The future of `function(*args)`, run when the place's turn comes."""
        job = _Job(lambda: function(*args, **kwargs))
        with self._changed:
            self._queues[stage].push(job, place)
            self._changed.notify()
        return job

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.run()
            # Else an idle thread would keep the last image alive.
            del job

    def _next(self) -> _Job[Any] | None:
        """The next job, None when there will be no more."""
        with self._changed:
            while True:
                for queue in self._queues.values():
                    if queue:
                        return queue.pop()
                if self._is_closing:
                    return None
                self._changed.wait()


@dataclass(frozen=True, slots=True)
class Lane:
    """A place to run functions off the event loop: workers and the stage to run them at."""

    workers: Workers
    stage: Stage

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run_for`, for nobody in particular: first come, first served."""
        return await self.run_for(_NO_ONES, function, *args, **kwargs)

    async def run_for(
        self, place: Place, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What `function(*args)` returns or raises, run when the place's turn comes.

        Cancelled before a thread took the job, it never runs. Cancelled later, this waits for the
        thread to come back before it lets the cancellation out: whoever waits here may free what
        the thread works on.
        """
        job = self.workers.submit_for(place, self.stage, function, *args, **kwargs)
        waiter = asyncio.wrap_future(job)
        try:
            await asyncio.wait({waiter})
        except asyncio.CancelledError:
            if not job.cancel():
                await settled(waiter)
            raise
        try:
            return waiter.result()
        finally:
            # As in `_Job.run`: an error's traceback refers to this frame.
            del job, waiter


async def settled(*futures: asyncio.Future[Any]) -> None:
    """Returns when all are done, however often the waiting task is cancelled."""
    pending = set(futures)
    while pending:
        try:
            _, pending = await asyncio.wait(pending)
        except asyncio.CancelledError:
            # The caller is on its way out already and re-raises its own cancellation.
            pending = {future for future in pending if not future.done()}
    for future in futures:
        if not future.cancelled():
            future.exception()  # looked at, so that asyncio does not log it as lost
