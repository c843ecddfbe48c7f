"""The worker threads: order by stage, results, and what a cancellation may and may not do."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from server.workers import NO_ONES, Lane, Stage, Workers
from tests.server.fakes import PATIENCE_S, eventually


@pytest.fixture
def one_worker() -> Iterator[Workers]:
    workers = Workers(1)
    workers.start()
    yield workers
    workers.close()


def hold(started: threading.Event, release: threading.Event) -> str:
    """Keeps a worker busy until told."""
    started.set()
    assert release.wait(PATIENCE_S)
    return "held"


async def test_a_function_runs_in_a_worker_and_its_result_comes_back(one_worker: Workers) -> None:
    name = await one_worker.lane(Stage.OPEN).run(lambda: threading.current_thread().name)
    assert name == "worker-0"


async def test_an_error_comes_back_as_itself(one_worker: Workers) -> None:
    def fail() -> None:
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        await one_worker.lane(Stage.OPEN).run(fail)


async def test_what_is_nearly_done_goes_first(one_worker: Workers) -> None:
    started, release = threading.Event(), threading.Event()
    order: list[str] = []
    holding = one_worker.submit(Stage.FINISH, hold, started, release)
    await asyncio.to_thread(started.wait)
    jobs = [
        one_worker.submit(stage, order.append, name)
        for stage, name in (
            (Stage.OPEN, "open 1"),
            (Stage.OPEN, "open 2"),
            (Stage.RUN, "run 1"),
            (Stage.FINISH, "finish 1"),
            (Stage.FINISH, "finish 2"),
        )
    ]
    release.set()
    await asyncio.gather(*map(asyncio.wrap_future, [holding, *jobs]))
    assert order == ["finish 1", "finish 2", "run 1", "open 1", "open 2"]


async def test_a_job_cancelled_before_its_turn_never_runs(one_worker: Workers) -> None:
    started, release = threading.Event(), threading.Event()
    ran: list[int] = []
    holding = one_worker.submit(Stage.OPEN, hold, started, release)
    await asyncio.to_thread(started.wait)
    waiting = asyncio.create_task(one_worker.lane(Stage.OPEN).run(ran.append, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    assert await asyncio.wrap_future(holding) == "held"
    await one_worker.lane(Stage.OPEN).run(ran.append, 2)
    assert ran == [2]


async def test_a_cancellation_waits_until_the_thread_has_let_go(one_worker: Workers) -> None:
    started, release = threading.Event(), threading.Event()
    running = asyncio.create_task(one_worker.lane(Stage.OPEN).run(hold, started, release))
    await asyncio.to_thread(started.wait)
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()  # as a server's stop does after a caller's own cancellation
    await asyncio.sleep(0)
    assert not running.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_cancellation_tells_the_thread_that_has_the_call_and_nobody_else(
    one_worker: Workers,
) -> None:
    started, release = threading.Event(), threading.Event()
    told: list[str] = []
    lane = one_worker.lane(Stage.OPEN)

    async def wait_for(name: str) -> str:
        return await lane.begin(NO_ONES, hold, started, release).telling(lambda: told.append(name))

    running = asyncio.create_task(wait_for("running"))
    await asyncio.to_thread(started.wait)
    waiting = asyncio.create_task(wait_for("waiting"))
    await asyncio.sleep(0)
    for task in (waiting, running):
        task.cancel()
    await asyncio.wait({waiting})
    assert told == ["running"]
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_closing_finishes_what_was_submitted() -> None:
    workers = Workers(2)
    workers.start()
    done: list[int] = []
    for number in range(20):
        workers.submit(Stage.OPEN, done.append, number)
    await asyncio.to_thread(workers.close)
    assert sorted(done) == list(range(20))


@pytest.mark.parametrize("fails", [False, True])
async def test_nothing_keeps_an_image_alive_after_its_job(one_worker: Workers, fails: bool) -> None:
    gc.disable()  # reference counting alone must do
    try:
        image = np.zeros(10)
        gone = weakref.ref(image)
        await _use(one_worker.lane(Stage.OPEN), image, fails=fails)
        del image
        await eventually(lambda: gone() is None, "the image is freed")
    finally:
        gc.enable()


async def test_a_job_cancelled_before_its_turn_lets_go_of_its_image_at_once(
    one_worker: Workers,
) -> None:
    started, release = threading.Event(), threading.Event()
    holding = one_worker.submit(Stage.OPEN, hold, started, release)
    await asyncio.to_thread(started.wait)
    gc.disable()  # reference counting alone must do
    try:
        image = np.zeros(10)
        gone = weakref.ref(image)
        waiting = asyncio.create_task(one_worker.lane(Stage.OPEN).run(np.sum, image))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        del image, waiting
        await eventually(lambda: gone() is None, "the image is freed while the worker is busy")
        assert not holding.done()
    finally:
        gc.enable()
        release.set()
    await asyncio.wrap_future(holding)


async def _use(lane: Lane, image: np.ndarray, *, fails: bool) -> None:
    def work(pixels: np.ndarray) -> float:
        if fails:
            raise ValueError("broken")
        return float(pixels.sum())

    try:
        await lane.run(work, image)
    except ValueError:
        assert fails
