"""ModelStreamInfer: requests in, answers out, one each and in their order; a request's error is its
answer.

Called by `server.kserve.service`. Reader, writer and the bounded window between them are
`server.streams.flow`'s, as in our own streams.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import structlog

from mattestream.kserve.v2 import infer_pb2
from server.admission import Admission, Overloaded
from server.calls import current_call
from server.config import Config
from server.errors import forget_frames, status_of
from server.kserve.asked import Asked
from server.kserve.parameters import FINAL
from server.metrics import Metrics
from server.streams.flow import Answer, FrameStream
from server.wire import refuse_unknown_fields

# Metadata of a call: its first error shall end it with a status of its own.
REAL_ERRORS = "triton_grpc_error"
NO_DEADLINE_S = 1e8  # gRPC gives a huge number where the caller set none

Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[infer_pb2.ModelInferRequest]


class Infer(Protocol):
    """`Answers.infer`."""

    def __call__(
        self,
        request: infer_pb2.ModelInferRequest,
        response: infer_pb2.ModelInferResponse,
        peer: str,
        allowed_s: float,
        *,
        waits: bool,
    ) -> Awaitable[Asked]:
        """Fills the response."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """An answer, and the error that it tells, if it does."""

    message: infer_pb2.ModelStreamInferResponse
    error: Exception | None = None


Stream = FrameStream[infer_pb2.ModelInferRequest, _Reply]


class InferenceStreams:
    """The streams that are open.

    Attributes:
        open: they.

    Args:
        config: how many, their window, and for how long they may stand still.
        admission: knows when to come back.
        metrics: told of streams and of their requests.
    """

    def __init__(self, config: Config, admission: Admission, metrics: Metrics) -> None:
        self._config = config
        self._admission = admission
        self._metrics = metrics
        self.open: set[Stream] = set()
        self._log = structlog.get_logger("server")

    def __len__(self) -> int:
        return len(self.open)

    def close(self) -> None:
        """Every stream answers what it has read and ends."""
        for stream in self.open:
            stream.close_soon()

    async def serve(self, requests: Requests, context: Context, infer: Infer) -> None:
        """Returns when the client is done and has all its answers.

        Raises:
            Overloaded: there are as many streams as there may be.
            StreamStalled, ShuttingDown: see `FrameStream.run`.
        """
        if len(self.open) >= self._config.max_streams:
            self._metrics.refused("streams")
            raise Overloaded(
                f"the server has {len(self.open)} streams open, it takes up to "
                f"{self._config.max_streams}",
                self._admission.retry_after_ms(),
                "streams",
            )
        call = current_call()
        ends_with_status = _ends_with_status(context)

        async def write(reply: _Reply, dropped_before: int) -> None:
            if reply.error is not None and ends_with_status:
                raise reply.error
            await context.write(reply.message)

        stream = Stream(
            read=lambda: anext(requests, None),
            write=write,
            work=lambda request: self._answer(request, context, infer),
            window=self._config.stream_window,
            stall_s=self._config.stream_stall_s,
        )
        self.open.add(stream)
        self._metrics.streams.inc()
        try:
            await context.send_initial_metadata(call.headers)
            await stream.run()
        finally:
            self.open.discard(stream)
            self._metrics.streams.dec()
            call.fields |= {"frames": stream.frames_answered}

    async def _answer(
        self, request: infer_pb2.ModelInferRequest, context: Context, infer: Infer
    ) -> Answer[_Reply]:
        """The answer to one request; an error is one, too."""
        message = infer_pb2.ModelStreamInferResponse()
        failed: Exception | None = None
        asked: Asked | None = None
        code = "OK"
        try:
            refuse_unknown_fields(request)
            allowed_s = allowed_seconds(context, self._config.default_deadline_s)
            asked = await infer(
                request,
                message.infer_response,
                context.peer(),
                min(allowed_s, self._config.default_deadline_s),
                waits=True,
            )
        except Exception as error:  # one request's error is one request's answer
            call = current_call()
            status = status_of(error, call.request_id)
            code, failed = status.code.name, error
            if status.is_internal:
                self._log.error(
                    "internal error", request_id=call.request_id, id=request.id, exc_info=error
                )
            forget_frames(error)
            message.Clear()
            message.error_message = status.message
            message.infer_response.id = request.id
            message.infer_response.model_name = request.model_name
            message.infer_response.model_version = request.model_version
        message.infer_response.parameters[FINAL].bool_param = True
        self._metrics.frame_ended(code)
        return Answer(_Reply(message, failed), asked)


def _ends_with_status(context: Context) -> bool:
    return any(
        name == REAL_ERRORS and value == "true"
        for name, value in context.invocation_metadata() or ()
    )


def allowed_seconds(context: Context, default_s: float) -> float:
    """Until the call's deadline; `default_s` when it has none."""
    remaining_s = context.time_remaining()
    if remaining_s is None or remaining_s >= NO_DEADLINE_S:
        return default_s
    return remaining_s
