"""The path of one image between its bytes and the finished bytes, with no wire in it.

    source -> open: decode, prepare -> run: the engine, with others in a batch -> close: finish,
    encode

A pipeline belongs to one loaded model on one device: `server.host_pipeline` on the CPU,
`server.device_pipeline` on a GPU. `server.remover` puts the batcher between the steps; the CLI's
local mode calls `remove_one`, which is the same three steps in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.framing import Frame
from kernels.reference import AlphaStatistics
from kernels.transfer import Copies
from server.codecs.encode import Packed
from server.codecs.header import Limits
from server.job import Color, Method, Options, Refine, Source
from server.streams.memory import StreamMemory


def nobody_asks() -> None:
    """Nothing: for work that goes on to its end."""


@dataclass(slots=True, kw_only=True)
class Opened:
    """A decoded image, ready for the model; pipelines add what they need of it."""

    width: int  # px, upright
    height: int
    format: str  # as `server.codecs.header.Header.format`
    notes: tuple[str, ...]  # sentences for the report
    decode_ms: float
    prepare_ms: float
    memory: StreamMemory | None = None  # of a stream's frames; read and written within `run`
    # Raises when nobody waits for the image any more; called between the parts of long work.
    check: Callable[[], None] = nobody_asks


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished image and what there is to report of it."""

    encoded: Packed
    statistics: AlphaStatistics
    finish_ms: float
    encode_ms: float
    copies: Copies = field(default_factory=Copies)  # none on a CPU
    refine: Refine = Refine.OFF  # what was really done
    decontaminate: float = 0.0  # 0..1, likewise
    notes: tuple[str, ...] = ()  # sentences for the report
    method: Method = Method.MODEL
    removed_color: Color | None = None  # by the methods that go by one
    shown: Frame | None = None  # the part of the source in the result; None: all of it


class Pipeline(Protocol):
    """The stages of one image. Any number of threads may share it."""

    @property
    def limits(self) -> Limits:
        """Of the images it takes."""

    @property
    def seats(self) -> int:
        """Images that may be between `open` and `close` at once; 0: any number."""

    def seat(self) -> AbstractContextManager[Any]:
        """What one image needs from `open` to `close`: memory on the device, nothing on a CPU."""

    def open(self, source: Any, options: Options, seat: Any) -> Any:
        """The image decoded and prepared: an `Opened`.

        Args:
            source: a `server.job.Source`; on a GPU also a `server.cuda_memory.ranges.DeviceSource`.
            options: what to make of it.
            seat: from `seat`.

        Raises:
            ImageRejected: the bytes are no picture this server takes; the sentence says why.
        """

    def run(self, batch: list[Any]) -> Any:
        """A sequence of the engine's answers, one for each opened image, in their order.

        Raises:
            EngineFailed: the engine could not run, or answered nonsense.
        """

    def run_tensors(self, batch: list[Any]) -> NDArray[np.float32]:
        """The network's own answers, (N, ...) float32 as its output layout says, for inputs that
        the caller has prepared: each (1, ...) float32 as the input layout says, or on a GPU a
        `models.prepared_tensor.PreparedTensor`.

        Raises:
            EngineFailed: the engine could not run.
        """

    def close(self, opened: Any, answer: Any, options: Options) -> Outcome:
        """The result made of an opened image and its answer, with the options it was opened
        with.
        """

    def free(self) -> None:
        """Waits for what is under way; the pipeline is not used any more."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What `remove_one` has to tell."""

    opened: Opened
    outcome: Outcome
    infer_ms: float


def remove_one(pipeline: Pipeline, source: Source, options: Options) -> Removed:
    """The whole path in the caller's thread, without batching.

    Raises:
        ImageRejected: as `Pipeline.open`.
        InvalidOption: a place that is pointed at does not lie in the image.
        EngineFailed: the engine could not run.
    """
    with pipeline.seat() as seat:
        opened = pipeline.open(source, options, seat)
        if options.subject is not None:
            options.subject.check(opened.width, opened.height)
        started = perf_counter()
        (answer,) = pipeline.run([opened])
        infer_ms = (perf_counter() - started) * 1e3
        return Removed(opened, pipeline.close(opened, answer, options), infer_ms)
