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
from contextlib import suppress
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


NO_ONES = Place()  # of what nobody in particular asked for


class Pending(asyncio.Future[T]):
    """A call that waits for a thread or is in one, and what comes of it; lives on the event loop.

    Awaited by one task. Cancelled before a thread took the call, it never runs and what it refers
    to is let go of at once, though the queue holds this object until its turn. Cancelled later, the
    cancellation gets out when the thread has come back, and no sooner: whoever waits here may free
    what the thread works on.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        super().__init__()
        # Taken out by whoever comes first, the thread or a cancellation: a list's pop is atomic.
        self._call = [call]
        self._tell: Callable[[], object] | None = None

    def telling(self, tell: Callable[[], object]) -> Pending[T]:
        """This, calling `tell` when it is cancelled while a thread is at work."""
        self._tell = tell
        return self

    def cancel(self, msg: object | None = None) -> bool:
        """False once a thread has the call: the waiting task goes on waiting, and asyncio cancels
        it when the thread is back.
        """
        try:
            self._call.pop()
        except IndexError:
            if self._tell is not None and not self.done():
                self._tell()
            return False
        return super().cancel(msg)

    def run(self) -> None:
        """Makes the call, in the thread that this is called in."""
        try:
            call = self._call.pop()
        except IndexError:
            return  # cancelled
        try:
            result = call()
        except BaseException as error:  # the caller's to judge, not this thread's
            self._settle(self.set_exception, error)
            # The error's traceback refers to this frame and the frame to the error: without this
            # the image would live until the next garbage collection.
            del self, call
        else:
            self._settle(self.set_result, result)

    def _settle(self, how: Callable[[Any], None], outcome: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.get_loop().call_soon_threadsafe(how, outcome)


class Workers:
    """A fixed number of threads over one queue for each stage; within a stage callers take turns,
    see `server.fair_queue`.

    The queues hold at most one call per admitted image, so their bound is the config's
    `max_requests`; of cancelled ones an empty shell waits there for its turn.
    """

    def __init__(self, threads: int, *, name: str = "worker") -> None:
        self.threads = threads
        self._queues: dict[Stage, FairQueue[Pending[Any]]] = {stage: FairQueue() for stage in Stage}
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
    ) -> Pending[T]:
        """As `submit_for`, for nobody in particular: first come, first served."""
        return self.submit_for(NO_ONES, stage, function, *args, **kwargs)

    def submit_for(
        self,
        place: Place,
        stage: Stage,
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Pending[T]:
        """What `function(*args)` returns or raises, run when the place's turn comes."""
        pending = Pending(lambda: function(*args, **kwargs))
        with self._changed:
            self._queues[stage].push(pending, place)
            self._changed.notify()
        return pending

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.run()
            # Else an idle thread would keep the last image alive.
            del job

    def _next(self) -> Pending[Any] | None:
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
        return await self.begin(NO_ONES, function, *args, **kwargs)

    async def run_for(
        self, place: Place, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What `function(*args)` returns or raises, run when the place's turn comes.

        Cancelled, it ends as `Pending` does.
        """
        return await self.begin(place, function, *args, **kwargs)

    def begin(
        self, place: Place, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Pending[T]:
        """As `run_for`, to be awaited at once. Nobody keeps it: an error's traceback refers to the
        frames that it came through, and would refer to itself.
        """
        return self.workers.submit_for(place, self.stage, function, *args, **kwargs)


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
