"""BackgroundRemovalService: messages to jobs, answers to messages.

Single images are here, streams in `server.services.streams`. Errors are only raised here;
`server.interceptors` ends the call with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from mattestream.v1 import image_pb2, removal_pb2, removal_pb2_grpc
from server.admission import Admission
from server.calls import current_call
from server.config import Config
from server.cuda_memory.door import CudaMemory
from server.cuda_memory.ranges import CudaSource
from server.image_job import Job
from server.job import EncodedSource, Options, Source
from server.metrics import Metrics
from server.model_host import ModelHost
from server.options import read_options
from server.remover import Remover
from server.services.intake import Intake, place_of
from server.services.streams import Requests, StreamService
from server.shared_memory.door import SharedMemory, SharedSource
from server.subjects.segmenter import Segmenter

Context = grpc.aio.ServicerContext[Any, Any]


class RemovalService(removal_pb2_grpc.BackgroundRemovalServiceServicer):
    """Images and streams of frames.

    Attributes:
        streams: the streams' own part.
    """

    def __init__(
        self,
        remover: Remover,
        host: ModelHost,
        admission: Admission,
        metrics: Metrics,
        config: Config,
        *,
        segmenter: Segmenter,
        shared_memory: SharedMemory,
        cuda_memory: CudaMemory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._intake = Intake(shared_memory, cuda_memory, config.default_deadline_s, clock)
        self._remover = remover
        self._segmenter = segmenter
        self.streams = StreamService(
            self._intake, remover, host, admission, metrics, config=config, clock=clock
        )

    async def Remove(  # noqa: N802
        self, request: removal_pb2.RemoveRequest, context: Context
    ) -> removal_pb2.RemoveResponse:
        """One image in, one result out."""
        call = current_call()
        response = removal_pb2.RemoveResponse()
        response.report.request_id = call.request_id
        wanted = request.options
        place = place_of(wanted)
        wanted.ClearField("shared_memory_output")  # `place` keeps its values
        wanted.ClearField("cuda_memory_output")
        options = read_options(wanted, stream=False)
        job = self._intake.job(
            self._intake.source(request.image, context.peer()),
            options,
            context.time_remaining(),
            response.result,
            response.report,
        )
        self._intake.direct(job, place, context.peer())
        call.fields |= _described(job.source, options)
        permit = await self._remover.remove(job, wait=False)
        # The answer takes memory until the client has it.
        context.add_done_callback(lambda ctx: permit.release())  # type: ignore[arg-type]
        call.fields |= _summary(response.report, response.result.ByteSize())
        return response

    # A coroutine that writes, not a generator: cancelled, it cleans up at once.
    async def RemoveStream(  # type: ignore[override]  # noqa: N802
        self, request_iterator: Requests, context: Context
    ) -> None:
        """Frames in, results out, in order."""
        await self.streams.serve(request_iterator, context)

    async def Segment(  # noqa: N802
        self, request: removal_pb2.SegmentRequest, context: Context
    ) -> removal_pb2.SegmentResponse:
        """The subjects of one image, apart."""
        call = current_call()
        response = removal_pb2.SegmentResponse()
        response.report.request_id = call.request_id

        def new_job(source: Source, options: Options) -> Job:
            result = image_pb2.Result()  # the whole alpha, which is taken apart
            call.fields.update(_described(source, options))
            remaining_s = context.time_remaining()
            return self._intake.job(source, options, remaining_s, result, response.report)

        permit = await self._segmenter.segment(request, new_job, response)
        context.add_done_callback(lambda ctx: permit.release())  # type: ignore[arg-type]
        call.fields |= _summary(response.report, response.ByteSize())
        call.fields["subjects"] = len(response.subjects)
        return response


def _described(source: Source | SharedSource | CudaSource, options: Options) -> dict[str, object]:
    if isinstance(source, SharedSource | CudaSource):
        kind, image_bytes = source.kind, source.nbytes
    else:
        kind = "encoded" if isinstance(source, EncodedSource) else str(source.format)
        image_bytes = len(source.data)
    return {
        "image_bytes": image_bytes,
        "source": str(kind),
        "output": str(options.output),
        "format": str(options.format),
    }


def _summary(report: Any, answer_bytes: int) -> dict[str, object]:
    timings = report.timings
    return {
        "model": report.model.name,
        "source": report.source_format,
        "width": report.source_width,
        "height": report.source_height,
        "answer_bytes": answer_bytes,
        "batch_size": report.batch_size,
        "queue_ms": round(timings.queue_ms, 2),
        "decode_ms": round(timings.decode_ms, 2),
        "infer_ms": round(timings.infer_ms, 2),
        "encode_ms": round(timings.encode_ms, 2),
    }
