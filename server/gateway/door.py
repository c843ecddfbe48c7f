"""The two functions behind everything in `server.gateway`: a picture and options in, a result and a
report out; by the same `Remover` as over gRPC.

The HTTP APIs call `Door.remove` and `Door.segment`; so may whatever else lives in this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from mattestream.v1 import image_pb2, options_pb2, removal_pb2, report_pb2
from server.admission import Permit
from server.calls import current_call
from server.deadline import Deadline
from server.image_job import Job
from server.job import EncodedSource, Options, Source
from server.option_rules import InvalidOption
from server.options import read_options, read_source
from server.remover import Remover
from server.subjects.segmenter import Segmenter


class _Held:
    """An answer that takes room on the server until it is released: use it in a `with` block, or
    hand it to what sends the answer.
    """

    _permits: list[Permit]

    def release(self) -> None:
        """The answer is out, or nobody wants it; harmless twice."""
        for permit in self._permits:
            permit.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


@dataclass(slots=True)
class Removed(_Held):
    """What was made of one picture."""

    result: image_pb2.Result
    report: report_pb2.Report
    _permits: list[Permit] = field(default_factory=list)


@dataclass(slots=True)
class Segmented(_Held):
    """The subjects of one picture."""

    response: removal_pb2.SegmentResponse
    _permits: list[Permit] = field(default_factory=list)


class Door:
    """Takes pictures to the pipeline.

    Args:
        remover: does the work.
        default_deadline_s: time that a picture may take.
        segmenter: takes subjects apart.
        clock: seconds.
    """

    def __init__(
        self,
        remover: Remover,
        default_deadline_s: float,
        *,
        segmenter: Segmenter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remover = remover
        self._default_deadline_s = default_deadline_s
        self._segmenter = segmenter
        self._clock = clock

    async def remove(
        self,
        image: bytes | image_pb2.Image,
        options: options_pb2.RemoveOptions,
        *,
        deadline_s: float | None = None,
        wait: bool = False,
    ) -> Removed:
        """What `options` asks for, made of `image`.

        Args:
            image: an image file, or the message.
            options: as over gRPC.
            deadline_s: time that it may take; None: the server's default.
            wait: True to wait for room as frames of streams do, False to be refused without.

        Raises:
            InvalidOption, NotBuilt, ImageRejected, Overloaded, ...: see `server.errors`.
        """
        call = current_call()
        if isinstance(image, bytes):
            source: Source = EncodedSource(image)  # a message would copy it twice
        else:
            _refuse_shared_memory(image, "image")
            source = read_source(image)
        if options.HasField("shared_memory_output"):
            raise _no_shared_memory("option shared_memory_output")
        report = report_pb2.Report(request_id=call.request_id)
        result = image_pb2.Result()
        job = Job(
            source,
            read_options(options, stream=False),
            Deadline.after(deadline_s or self._default_deadline_s, self._clock),
            self._clock(),
            result,
            report,
        )
        permit = await self._remover.remove(job, wait=wait)
        call.fields |= {
            "model": report.model.name,
            "source": report.source_format,
            "width": report.source_width,
            "height": report.source_height,
            "answer_bytes": result.ByteSize(),
            "infer_ms": round(report.timings.infer_ms, 2),
        }
        return Removed(result, report, [permit])

    async def segment(
        self, request: removal_pb2.SegmentRequest, *, deadline_s: float | None = None
    ) -> Segmented:
        """The subjects of a picture, each for itself.

        Raises:
            InvalidOption, ImageRejected, Overloaded, ...: see `server.errors`.
        """
        _refuse_shared_memory(request.image, "image")
        call = current_call()
        response = removal_pb2.SegmentResponse()
        report = response.report
        report.request_id = call.request_id

        def new_job(source: Source, options: Options) -> Job:
            deadline = Deadline.after(deadline_s or self._default_deadline_s, self._clock)
            return Job(source, options, deadline, self._clock(), image_pb2.Result(), report)

        permit = await self._segmenter.segment(request, new_job, response)
        call.fields |= {
            "model": report.model.name,
            "subjects": len(response.subjects),
            "width": report.source_width,
            "height": report.source_height,
            "answer_bytes": response.ByteSize(),
        }
        return Segmented(response, [permit])


def _refuse_shared_memory(image: image_pb2.Image, name: str) -> None:
    """Shared memory is for callers of the same host, and HTTP does not say where one is."""
    if image.WhichOneof("source") == "shared_memory":
        raise _no_shared_memory(f"{name}.shared_memory")


def _no_shared_memory(what: str) -> InvalidOption:
    return InvalidOption(
        f"{what} is set, but HTTP takes and gives bytes only: leave it unset, or use gRPC"
    )
