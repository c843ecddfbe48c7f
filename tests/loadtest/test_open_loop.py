"""The open loop: requests come when they are due, and latencies count from then."""

from __future__ import annotations

import asyncio

import pytest

from loadtest.open_loop import OK, Step, run_open_loop, schedule


def test_the_schedule_keeps_each_steps_rate_and_time() -> None:
    due = list(schedule([Step(100.0, 50.0), Step(0.0, 5.0), Step(10.0, 100.0)], seed=3))
    assert due == sorted(due)
    assert sum(moment < 50 for moment in due) == pytest.approx(5000, rel=0.05)
    assert not any(50 <= moment < 55 for moment in due)
    assert sum(moment >= 55 for moment in due) == pytest.approx(1000, rel=0.1)
    assert due[-1] < 155


def test_the_same_seed_gives_the_same_moments() -> None:
    steps = [Step(5.0, 10.0)]
    assert list(schedule(steps, 1)) == list(schedule(steps, 1)) != list(schedule(steps, 2))


async def test_a_request_does_not_wait_for_the_one_before_and_counts_from_its_moment() -> None:
    let_go = asyncio.Event()

    async def call(number: int) -> str:
        if number == 0:
            await let_go.wait()  # set by the last: a loop that waited would hang here
        if number == 2:
            let_go.set()
        return OK if number else "DEADLINE_EXCEEDED"

    outcomes = await run_open_loop(call, iter([0.0, 0.01, 0.02]))
    by_moment = dict(zip(outcomes.due_s, outcomes.status, strict=True))
    assert by_moment == {0.0: "DEADLINE_EXCEEDED", 0.01: OK, 0.02: OK}
    assert outcomes.latency_ms[outcomes.due_s.index(0.0)] >= 20


async def test_a_generator_that_comes_too_late_adds_its_lateness_to_the_latency() -> None:
    moments = iter([10.0, 10.0, 10.5, 10.5, 10.5])  # began, wait, one starts, one ends

    async def call(number: int) -> str:
        return OK

    outcomes = await run_open_loop(call, iter([0.0]), clock=lambda: next(moments))
    assert outcomes.late_ms == [500.0]
    assert outcomes.latency_ms == [500.0]
