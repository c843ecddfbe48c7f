"""What TensorRT's builder says of its progress, as one fraction; and the way to stop it.

Used by `models.tensorrt_builder`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Progress = Callable[[str, float], None]  # what goes on, and how far it is, 0..1


class Phases:
    """How far nested phases are, as one number: a phase is one step of its parent's.

    The library says how many steps a phase has, not how long they take, so the number is honest in
    order and rough in time.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[str | None, int, int]] = {}  # parent, steps, steps done
        self.fraction = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        self._open[name] = (parent, max(steps, 1), 0)

    def step(self, name: str, step: int) -> None:
        """Step number `step`, from 0, of an open phase is done."""
        if name in self._open:
            parent, steps, _ = self._open[name]
            self._open[name] = (parent, steps, min(step + 1, steps))
            self.fraction = max(self.fraction, self._far())

    def finish(self, name: str) -> None:
        """A phase ends, with all of its steps or cancelled."""
        if self._open.pop(name, None) is not None and not self._open:
            self.fraction = 1.0

    def _far(self) -> float:
        """From the innermost phase outwards: its share of one step of the one around it."""
        inner = 0.0
        for parent, steps, done in reversed(self._open.values()):
            inner = min((done + inner) / steps, 1.0)
            if parent is None:
                break
        return inner


def progress_monitor(
    trt: Any, on_progress: Progress | None, cancelled: Callable[[], bool] | None
) -> Any:
    """An IProgressMonitor; the class is made here because its base is known only now.

    Its `was_cancelled` says whether `cancelled()` ended the build; its `failure` is what
    `on_progress` or `cancelled` raised, which ends it too.

    Args:
        trt: the library.
        on_progress: told which phase changed and how far everything is, 0..1.
        cancelled: asked at each step.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Turns nested phases into one fraction that only grows. Called from several threads."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.failure: BaseException | None = None
            self.was_cancelled = False
            self._phases = Phases()
            # Reentrant: what is told may itself be called from within the library.
            self._lock = threading.RLock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._safely(lambda: self._phases.start(phase_name, parent_phase, num_steps))
            self._tell(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._safely(lambda: self._phases.step(phase_name, step))
            self._tell(phase_name)
            self._safely(self._ask)
            return self.failure is None and not self.was_cancelled

        def phase_finish(self, phase_name: str) -> None:
            self._safely(lambda: self._phases.finish(phase_name))
            self._tell(phase_name)

        def _ask(self) -> None:
            if self.failure is None and cancelled is not None and cancelled():
                self.was_cancelled = True

        def _tell(self, phase_name: str) -> None:
            if on_progress is not None and self.failure is None:
                self._safely(lambda: on_progress(phase_name, self._phases.fraction))

        def _safely(self, work: Callable[[], None]) -> None:
            """One at a time; what it raises is kept, as it must not cross the library's frames."""
            try:
                with self._lock:
                    work()
            except BaseException as error:
                if self.failure is None:
                    self.failure = error

    return Monitor()
