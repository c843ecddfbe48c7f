from __future__ import annotations

import threading
import types
from concurrent.futures import ThreadPoolExecutor

from models.tensorrt_progress import Phases, progress_monitor


def test_a_phase_counts_as_one_step_of_the_one_around_it():
    phases = Phases()
    phases.start("all", None, 4)
    phases.step("all", 0)
    assert phases.fraction == 1 / 4
    phases.start("inner", "all", 2)
    phases.step("inner", 0)
    assert phases.fraction == 1 / 4 + 1 / 8


def test_it_never_goes_back():
    phases = Phases()
    phases.start("all", None, 4)
    phases.start("inner", "all", 2)
    phases.step("inner", 1)
    before = phases.fraction
    phases.finish("inner")
    phases.start("another", "all", 100)
    phases.step("another", 0)
    assert phases.fraction == before == 1 / 4


def test_it_ends_with_the_outermost_phase():
    phases = Phases()
    phases.start("all", None, 4)
    phases.finish("all")
    assert phases.fraction == 1


def test_phases_without_steps_and_steps_of_no_phase_do_no_harm():
    phases = Phases()
    phases.step("unknown", 3)
    phases.finish("unknown")
    phases.start("all", None, 0)
    phases.step("all", 7)
    assert phases.fraction == 1


def test_the_monitor_takes_one_thread_at_a_time():
    module = types.SimpleNamespace(IProgressMonitor=type("Base", (), {}))
    inside, second, together = threading.Event(), threading.Event(), []

    def tell(phase, fraction):
        if phase == "second":
            second.set()
        else:
            inside.set()
            together.append(second.wait(0.3))  # without a lock the other comes in at once

    monitor = progress_monitor(module, tell, None)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(monitor.phase_start, "first", None, 4)
        assert inside.wait(5)
        pool.submit(monitor.phase_start, "second", "first", 2).result(5)
        first.result(5)
    assert monitor.failure is None
    assert together == [False]
