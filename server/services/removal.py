"""BackgroundRemovalService: messages to jobs, answers to messages, for single images and for
streams.

Errors are only raised here; `server.interceptors` ends the call with them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import structlog

from mattestream.v1 import image_pb2, options_pb2, removal_pb2, removal_pb2_grpc, report_pb2
from server.admission import Admission, Overloaded
from server.behind import held
from server.calls import current_call
from server.codecs.header import Limits
from server.config import MEBIBYTE, Config
from server.cuda_memory.door import CudaMemory
from server.cuda_memory.leases import Held
from server.cuda_memory.ranges import CudaSource, CudaTarget
from server.deadline import Deadline
from server.errors import forget_frames, status_of
from server.job import EncodedSource, Options, Source
from server.metrics import Metrics
from server.model_host import ModelHost
from server.option_rules import InvalidOption
from server.options import read_options, read_source
from server.remover import Job, Remover
from server.shared_memory.door import SharedMemory, SharedSource, SharedTarget
from server.streams.config import StreamPlan, read_stream_config
from server.streams.errors import StreamBroken, StreamTakenOver
from server.streams.flow import Answer, FrameStream
from server.streams.parked import Parked
from server.streams.session import Session
from server.subjects.segmenter import Segmenter
from server.wire import refuse_unknown_fields
from server.workers import settled

# Where a result's pixels go instead of into the answer.
Place = image_pb2.SharedMemoryRange | image_pb2.CudaMemoryRange | None
TAKEN_OVER = "taken over"  # what such a stream's task is cancelled with

Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[removal_pb2.RemoveStreamRequest]


class RemovalService(removal_pb2_grpc.BackgroundRemovalServiceServicer):
    """Images and streams of frames.

    Attributes:
        streams: those that are open, past their config.
        parked: what broken streams left, to be taken up again.
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
        self._shared_memory = shared_memory
        self._cuda_memory = cuda_memory
        self.streams: set[FrameStream[Any, Any]] = set()
        self._remover = remover
        self._segmenter = segmenter
        self._host = host
        self._admission = admission
        self._metrics = metrics
        self._config = config
        self._limits = Limits(config.max_megapixels, config.max_side_px)
        self._clock = clock
        self._open_streams = 0
        self.parked = Parked(
            config.stream_resume_s,
            config.max_streams,
            config.stream_resume_mb * MEBIBYTE,
            clock=clock,
        )
        self._log = structlog.get_logger("server")

    async def Remove(  # noqa: N802
        self, request: removal_pb2.RemoveRequest, context: Context
    ) -> removal_pb2.RemoveResponse:
        """One image in, one result out."""
        call = current_call()
        response = removal_pb2.RemoveResponse()
        response.report.request_id = call.request_id
        wanted = request.options
        place = _place_of(wanted)
        wanted.ClearField("shared_memory_output")  # `place` keeps its values
        wanted.ClearField("cuda_memory_output")
        options = read_options(wanted, stream=False)
        job = self._job(
            self._source(request.image, context),
            options,
            context.time_remaining(),
            response.result,
            response.report,
        )
        job.shared_output = self._target(place, options, context)
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
        if self._open_streams >= self._config.max_streams:
            self._metrics.refused("streams")
            raise Overloaded(
                f"the server has {self._open_streams} streams open, it takes up to "
                f"{self._config.max_streams}",
                self._admission.retry_after_ms(),
                "streams",
            )
        self._open_streams += 1
        self._metrics.streams.inc()
        try:
            await self._stream(request_iterator, context)
        except asyncio.CancelledError as error:
            if error.args != (TAKEN_OVER,):
                raise
            raise StreamTakenOver(
                "another stream came with the same resume_id and goes on with this one's state"
            ) from None
        finally:
            self._open_streams -= 1
            self._metrics.streams.dec()

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
            return self._job(source, options, context.time_remaining(), result, response.report)

        permit = await self._segmenter.segment(request, new_job, response)
        context.add_done_callback(lambda ctx: permit.release())  # type: ignore[arg-type]
        call.fields |= _summary(response.report, response.ByteSize())
        call.fields["subjects"] = len(response.subjects)
        return response

    def close_streams(self) -> None:
        """Every stream answers what it has read and ends; called when the drain's time runs out."""
        for stream in self.streams:
            stream.close_soon()

    async def _stream(self, requests: Requests, context: Context) -> None:
        config = await self._read_config(requests)
        plan = read_stream_config(
            config,
            max_window=self._config.stream_window,
            threads=self._config.worker_threads,
            keeps_broken=self._config.stream_resume_s > 0,
        )
        async with held(plan.options, self._admission, self._limits):
            await self._run_plan(requests, context, plan)

    async def _run_plan(self, requests: Requests, context: Context, plan: StreamPlan) -> None:
        call = current_call()
        with self._host.use(plan.options.model) as replica:
            # Asked once here so that a wrong name ends the stream; each frame asks again, so that
            # the stream does not keep a model loaded that it is not using.
            used = replica.used
            manifest = replica.model.manifest
            finds_key = not manifest.has_network and plan.options.chroma_key.color is None
            session = Session(
                plan, used.weights_sha256, remembers=manifest.is_recurrent or finds_key
            )
        if plan.smooth and not manifest.has_network:
            raise InvalidOption(
                f"option temporal.smooth is set, but model '{manifest.name}' finds every frame's "
                "alpha in its own pixels, which needs no smoothing: leave it unset"
            )
        call.fields |= {"model": used.name, "window": plan.window}
        if not plan.resume_id:
            try:
                await self._run_stream(requests, context, plan, used, session)
            finally:
                session.end()
            return
        name = (call.owner, plan.resume_id)
        mine, left = await self.parked.enter(name, _ending_of_this_task())
        resumed = left is not None and left.fits == session.fits and left.is_whole
        if left is not None and resumed:
            session = left
            session.begin_again()
        elif left is not None:
            left.end()
        try:
            await self._run_stream(requests, context, plan, used, session, resumed=resumed)
        finally:
            # However it ended: a client that vanished looks like one that was done.
            self.parked.leave(name, mine, session)

    async def _run_stream(
        self,
        requests: Requests,
        context: Context,
        plan: StreamPlan,
        used: report_pb2.ModelUsed,
        session: Session,
        *,
        resumed: bool = False,
    ) -> None:
        call = current_call()

        async def write(response: removal_pb2.RemoveStreamResponse, dropped_before: int) -> None:
            response.frame.dropped_before = dropped_before
            await context.write(response)
            session.last_frame_id = response.frame.frame_id

        hold = self._cuda_memory.hold()
        stream = FrameStream(
            read=lambda: _next_frame(requests),
            write=write,
            work=lambda request: self._frame(request, plan.options, session, context, hold),
            window=plan.window,
            stall_s=self._config.stream_stall_s,
            latest=plan.latest,
        )
        self.streams.add(stream)
        try:
            await context.send_initial_metadata(call.headers)
            started = removal_pb2.StreamStarted(
                stream_id=call.request_id, window=plan.window, model=used, resumed=resumed
            )
            if resumed and session.last_frame_id is not None:
                started.last_frame_id = session.last_frame_id
            await context.write(removal_pb2.RemoveStreamResponse(started=started))
            await stream.run()
        finally:
            self.streams.discard(stream)
            if not hold.is_empty:
                await settled(asyncio.ensure_future(asyncio.to_thread(hold.close)))
            call.fields |= {
                "frames": stream.frames_answered,
                "dropped": stream.frames_dropped,
                "most_in_window": stream.most_in_window,
            }
            self._metrics.frames_dropped(stream.frames_dropped)

    async def _read_config(self, requests: Requests) -> removal_pb2.StreamConfig:
        try:
            async with asyncio.timeout(self._config.stream_stall_s):
                first = await anext(requests, None)
        except TimeoutError:
            raise StreamBroken(
                f"no config came for {self._config.stream_stall_s:g} s: a stream's first message "
                "must be its config"
            ) from None
        if first is not None:
            refuse_unknown_fields(first)
        kind = (
            "end of the stream" if first is None else first.WhichOneof("message") or "empty message"
        )
        if first is None or kind != "config":
            raise StreamBroken(
                f"the first message is a {kind}: a stream's first message must be its config"
                if kind == "frame"
                else f"the {kind} came first: a stream's first message must be its config"
            )
        return first.config

    async def _frame(
        self,
        request: removal_pb2.RemoveStreamRequest,
        options: Options,
        session: Session,
        context: Context,
        hold: Held,
    ) -> Answer[removal_pb2.RemoveStreamResponse]:
        """The frame's answer; an error is one, too."""
        call = current_call()
        frame = request.frame
        response = removal_pb2.RemoveStreamResponse()
        out = response.frame
        out.frame_id, out.pts = frame.frame_id, frame.pts
        out.report.request_id = call.request_id
        answer = Answer(response)
        code = "OK"
        ticket = session.ticket()
        try:
            refuse_unknown_fields(request)
            source = self._source(frame.image, context, hold)
            job = self._job(source, options, None, out.result, out.report)
            job.shared_output = self._target(_place_of(frame), options, context, hold)
            answer.permit = await session.remove(job, ticket, out, self._remover, self._admission)
        except Exception as error:  # one frame's error is one frame's answer
            status = status_of(error, call.request_id)
            code = status.code.name
            if status.is_internal:
                self._log.error(
                    "internal error",
                    request_id=call.request_id,
                    frame_id=frame.frame_id,
                    exc_info=error,
                )
            forget_frames(error)
            out.error.code = status.number
            out.error.message = status.message
            out.error.retry_after_ms = status.retry_after_ms
            out.error.reason = status.reason
        finally:
            session.leave(ticket)
        self._metrics.frame_ended(code)
        self._log.debug(
            "frame done",
            request_id=call.request_id,
            frame_id=frame.frame_id,
            code=code,
            total_ms=round(out.report.timings.total_ms, 2),
        )
        return answer

    def _source(
        self, image: image_pb2.Image, context: Context, hold: Held | None = None
    ) -> Source | SharedSource | CudaSource:
        """The picture of a request or of a frame; what lies in shared memory is not read yet."""
        match image.WhichOneof("source"):
            case "shared_memory":
                return self._shared_memory.source(image.shared_memory, context.peer())
            case "cuda_memory":
                return self._cuda_memory.source(image.cuda_memory, context.peer(), hold)
        return read_source(image)

    def _target(
        self, place: Place, options: Options, context: Context, hold: Held | None = None
    ) -> SharedTarget | CudaTarget | None:
        """Where a result's pixels go; None: into the answer."""
        match place:
            case image_pb2.SharedMemoryRange():
                return self._shared_memory.target(place, options, context.peer())
            case image_pb2.CudaMemoryRange():
                return self._cuda_memory.target(place, options, context.peer(), hold)
        return None

    def _job(
        self,
        source: Source | SharedSource | CudaSource,
        options: Options,
        remaining_s: float | None,
        result: Any,
        report: Any,
    ) -> Job:
        # gRPC gives a huge number where the caller set no deadline.
        allowed_s = self._config.default_deadline_s
        if remaining_s is not None and remaining_s < 1e8:
            allowed_s = remaining_s
        deadline = Deadline.after(allowed_s, self._clock)
        return Job(source, options, deadline, self._clock(), result, report)


def _place_of(message: options_pb2.RemoveOptions | removal_pb2.Frame) -> Place:
    """Where a result shall go that does not go into the answer.

    Raises:
        InvalidOption: to two places.
    """
    named = [
        getattr(message, name)
        for name in ("shared_memory_output", "cuda_memory_output")
        if message.HasField(name)
    ]
    if len(named) > 1:
        raise InvalidOption(
            "shared_memory_output and cuda_memory_output are both set: a result goes to one place"
        )
    return named[0] if named else None


async def _next_frame(requests: Requests) -> removal_pb2.RemoveStreamRequest | None:
    """The next message, which must hold a frame; None when the client is done.

    Raises:
        StreamBroken: it holds something else.
    """
    request = await anext(requests, None)
    kind = "frame" if request is None else request.WhichOneof("message")
    if kind == "config":
        raise StreamBroken(
            "a second config came: a stream has one, open another stream for other options"
        )
    if kind != "frame":
        raise StreamBroken(
            "a message of the stream is empty: after the config every message must hold a frame"
        )
    return request


def _ending_of_this_task() -> Callable[[], object]:
    """Ends the stream of the running task when a newer one takes it over: its client may be gone
    without a word, so that neither a read nor a write would ever return.
    """
    task = asyncio.current_task()
    assert task is not None
    return lambda: task.cancel(TAKEN_OVER)


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
