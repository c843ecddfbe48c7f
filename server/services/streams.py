"""RemoveStream: a stream's config to its plan, its frames to jobs, and what ends it.

Made by `server.services.removal`. `server.streams.flow` moves the frames, `server.streams.session`
takes each through the remover.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import structlog

from mattestream.v1 import removal_pb2, report_pb2
from server.admission import Admission, Overloaded
from server.behind import held
from server.calls import current_call
from server.codecs.header import Limits
from server.config import MEBIBYTE, Config
from server.cuda_memory.leases import Held
from server.errors import forget_frames, status_of
from server.job import Options
from server.metrics import Metrics
from server.model_host import ModelHost
from server.option_rules import InvalidOption
from server.remover import Remover
from server.services.intake import Intake, place_of
from server.streams.config import StreamPlan, read_stream_config
from server.streams.errors import StreamBroken, StreamTakenOver
from server.streams.flow import Answer, FrameStream
from server.streams.parked import Parked
from server.streams.session import Session
from server.wire import refuse_unknown_fields
from server.workers import settled

TAKEN_OVER = "taken over"  # what such a stream's task is cancelled with

Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[removal_pb2.RemoveStreamRequest]


class StreamService:
    """Streams of frames.

    Attributes:
        open: those that are open, past their config.
        parked: what broken streams left, to be taken up again.
    """

    def __init__(
        self,
        intake: Intake,
        remover: Remover,
        host: ModelHost,
        admission: Admission,
        metrics: Metrics,
        *,
        config: Config,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.open: set[FrameStream[Any, Any]] = set()
        self.parked = Parked(
            config.stream_resume_s,
            config.max_streams,
            config.stream_resume_mb * MEBIBYTE,
            clock=clock,
        )
        self._intake = intake
        self._remover = remover
        self._host = host
        self._admission = admission
        self._metrics = metrics
        self._config = config
        self._limits = Limits(config.max_megapixels, config.max_side_px)
        self._calls = 0  # under way, whether or not their config has come
        self._log = structlog.get_logger("server")

    async def serve(self, requests: Requests, context: Context) -> None:
        """Returns when the stream is over; see `protos/mattestream/v1/removal.proto`.

        Raises:
            Overloaded: the server has as many streams as it takes.
            StreamBroken, StreamStalled, StreamTakenOver, ShuttingDown, ...: see `server.errors`.
        """
        if self._calls >= self._config.max_streams:
            self._metrics.refused("streams")
            raise Overloaded(
                f"the server has {self._calls} streams open, it takes up to "
                f"{self._config.max_streams}",
                self._admission.retry_after_ms(),
                "streams",
            )
        self._calls += 1
        self._metrics.streams.inc()
        try:
            await self._stream(requests, context)
        except asyncio.CancelledError as error:
            if error.args != (TAKEN_OVER,):
                raise
            raise StreamTakenOver(
                "another stream came with the same resume_id and goes on with this one's state"
            ) from None
        finally:
            self._calls -= 1
            self._metrics.streams.dec()

    def close(self) -> None:
        """Every stream answers what it has read and ends; called when the drain's time runs out."""
        for stream in self.open:
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
        log = self._log.bind(request_id=call.request_id)  # once: a lazy logger is made for each use

        async def write(response: removal_pb2.RemoveStreamResponse, dropped_before: int) -> None:
            response.frame.dropped_before = dropped_before
            await context.write(response)
            session.last_frame_id = response.frame.frame_id

        hold = self._intake.hold()
        stream = FrameStream(
            read=lambda: _next_frame(requests),
            write=write,
            work=lambda request: self._frame(
                request, plan.options, session, peer=context.peer(), hold=hold, log=log
            ),
            window=plan.window,
            stall_s=self._config.stream_stall_s,
            latest=plan.latest,
        )
        self.open.add(stream)
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
            self.open.discard(stream)
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
        *,
        peer: str,
        hold: Held,
        log: structlog.typing.FilteringBoundLogger,
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
            source = self._intake.source(frame.image, peer, hold)
            job = self._intake.job(source, options, None, out.result, out.report)
            self._intake.direct(job, place_of(frame), peer, hold)
            answer.permit = await session.remove(job, ticket, out, self._remover, self._admission)
        except Exception as error:  # one frame's error is one frame's answer
            status = status_of(error, call.request_id)
            code = status.code.name
            if status.is_internal:
                log.error("internal error", frame_id=frame.frame_id, exc_info=error)
            forget_frames(error)
            out.error.code = status.number
            out.error.message = status.message
            out.error.retry_after_ms = status.retry_after_ms
            out.error.reason = status.reason
        finally:
            session.leave(ticket)
        self._metrics.frame_ended(code)
        log.debug(
            "frame done",
            frame_id=frame.frame_id,
            code=code,
            total_ms=round(out.report.timings.total_ms, 2),
        )
        return answer


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
