"""What each face of a model has done: requests counted here, images and runs by its batcher.

Told by `server.kserve.answers`, asked by `server.kserve.service`. Requests are those that came by
this service; images and runs are everyone's, because the batcher mixes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mattestream.kserve.v2 import statistics_pb2
from server.kserve.names import PIPELINE_SUFFIX, Face
from server.replica import Replica


@dataclass(frozen=True, slots=True)
class Took:
    """How long the stages of one request took together, in milliseconds."""

    images: int = 1
    queue_ms: float = 0.0
    input_ms: float = 0.0
    infer_ms: float = 0.0
    output_ms: float = 0.0


@dataclass(slots=True)
class _Sum:
    count: int = 0
    ns: int = 0

    def add(self, ms: float) -> None:
        self.count += 1
        self.ns += int(ms * 1e6)

    def into(self, message: statistics_pb2.StatisticDuration) -> None:
        message.count, message.ns = self.count, self.ns


class _Requests:
    """Of one face since its model was loaded."""

    def __init__(self) -> None:
        self.success, self.fail = _Sum(), _Sum()
        self.queue, self.input, self.infer, self.output = _Sum(), _Sum(), _Sum(), _Sum()
        self.last_ms = 0


class Statistics:
    """Counts by face; lives on the event loop.

    Args:
        wall_clock: seconds since 1970.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._of: dict[str, _Requests] = {}

    def forget(self, model: str) -> None:
        """The model goes: the counts of its faces begin anew with the next load."""
        for name in (model, model + PIPELINE_SUFFIX):
            self._of.pop(name, None)

    def succeeded(self, name: str, total_ms: float, took: Took) -> None:
        """A request was answered."""
        of = self._of.setdefault(name, _Requests())
        of.last_ms = int(self._wall_clock() * 1e3)
        for total, ms in (
            (of.success, total_ms),
            (of.queue, took.queue_ms),
            (of.input, took.input_ms),
            (of.infer, took.infer_ms),
            (of.output, took.output_ms),
        ):
            total.add(ms)

    def failed(self, name: str, total_ms: float) -> None:
        """A request was not."""
        self._of.setdefault(name, _Requests()).fail.add(total_ms)

    def message(self, face: Face, replicas: Iterable[Replica]) -> statistics_pb2.ModelStatistics:
        """All that is known of one face.

        Args:
            face: which.
            replicas: its model's, one for each device.
        """
        message = statistics_pb2.ModelStatistics(name=face.name, version=face.version)
        of = self._of.get(face.name, _Requests())
        message.last_inference = of.last_ms
        for total, into in (
            (of.success, message.inference_stats.success),
            (of.fail, message.inference_stats.fail),
            (of.queue, message.inference_stats.queue),
            (of.input, message.inference_stats.compute_input),
            (of.infer, message.inference_stats.compute_infer),
            (of.output, message.inference_stats.compute_output),
        ):
            total.into(into)
        by_size: dict[int, _Sum] = {}
        for replica in replicas:
            batcher = replica.batcher if face.is_pipeline else replica.tensors
            for size, runs in batcher.counts.by_size().items():
                total = by_size.setdefault(size, _Sum())
                total.count += runs.count
                total.ns += int(runs.seconds * 1e9)
        for size, total in sorted(by_size.items()):
            message.inference_count += size * total.count
            message.execution_count += total.count
            total.into(message.batch_stats.add(batch_size=size).compute_infer)
        return message
