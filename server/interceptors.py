"""What every call of our services passes: an id, the gate, the key check, bytes to messages, errors
to statuses, one log line, metrics. A full server refuses an image before it has come.

Installed by `server.app`. Health and reflection pass through untouched: they are asked all day and
must answer while the server drains.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from typing import Any

import grpc
import structlog
from google.protobuf.message import Message

from server.admission import Admission, Overloaded
from server.auth import ApiKeys, owner_of
from server.calls import Call, open_call
from server.errors import Status, forget_frames, status_of, trailers
from server.fair_queue import read_priority
from server.kserve import names
from server.metrics import Metrics
from server.service_cost import ServiceCosts
from server.shutdown import Gate
from server.wire import DamagedMessage, decode, refuse_unknown_fields

OUR_SERVICES = ("/mattestream.v1.", f"/{names.SERVICE}/")
TAKES_IMAGES = ("/mattestream.v1.BackgroundRemovalService/", f"/{names.SERVICE}/ModelInfer")
# Asked all day as health is, by callers without a key, and answered while the server drains.
PROBES = tuple(f"/{names.SERVICE}/{name}" for name in ("ServerLive", "ServerReady", "ModelReady"))
ABORT_PATIENCE_S = 2.0

Context = grpc.aio.ServicerContext[Any, Any]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each handler of our services; a handler returns, or raises what the table knows."""

    def __init__(
        self,
        gate: Gate,
        api_keys: ApiKeys,
        metrics: Metrics,
        admission: Admission,
        *,
        costs: ServiceCosts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._admission = admission
        self._costs = costs
        self._gate = gate
        self._api_keys = api_keys
        self._metrics = metrics
        self._clock = clock
        self._log = structlog.get_logger("server")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The method's handler, wrapped when it is ours.

        gRPC hands the wrapper bytes: what it decodes itself fails outside of all this, without an
        id, a line or a sentence.
        """
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OUR_SERVICES):
            return handler
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(method, handler.stream_stream, handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        # As a stream of one message, which is the same on the wire: gRPC would else read the whole
        # message before anyone is asked, 2 MB of photo to be told that there is no room. What is
        # not read, HTTP/2 flow control keeps with the client.
        return grpc.stream_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary, handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _unary(
        self, method: str, inner: Callable[..., Any], read: Callable[[bytes], Message]
    ) -> Callable[..., Any]:
        takes_images = method.startswith(TAKES_IMAGES)

        async def behave(_: object, context: Context) -> object:
            async def work(call: Call) -> object:
                if takes_images:
                    self._check_room(context)
                data = await context.read()
                if data is grpc.aio.EOF:
                    raise DamagedMessage(f"no message came: {method} takes one")
                request = decode(read, data, call.method)
                del data  # the message has its own copy of the picture
                refuse_unknown_fields(request)
                reply = await inner(request, context)
                await context.send_initial_metadata(call.headers)
                return reply

            return await self._serve(method, context, work)

        return behave

    def _stream(
        self, method: str, inner: Callable[..., Any], read: Callable[[bytes], Message]
    ) -> Callable[..., Any]:
        # The service sends the headers itself, when it has accepted the stream.
        async def behave(_: object, context: Context) -> object:
            return await self._serve(
                method, context, lambda call: inner(_Requests(context, read, call.method), context)
            )

        return behave

    async def _serve(
        self, method: str, context: Context, work: Callable[[Call], Awaitable[object]]
    ) -> object:
        started_at = self._clock()
        metadata = context.invocation_metadata() or ()
        call = open_call(method, metadata)
        try:
            with nullcontext() if method in PROBES else self._gate.passed():
                if method not in PROBES:
                    self._api_keys.check(metadata)
                call.owner = owner_of(metadata)
                call.caller = call.owner or context.peer()
                call.priority = read_priority(metadata)
                reply = await work(call)
        except asyncio.CancelledError:
            is_late = context.time_remaining() == 0
            self._ended(call, context, "DEADLINE_EXCEEDED" if is_late else "CANCELLED", started_at)
            raise
        except Exception as error:  # the table decides; what it does not know is INTERNAL
            status = status_of(error, call.request_id)
            if status.is_internal:
                self._log.error("internal error", request_id=call.request_id, exc_info=error)
            forget_frames(error)
        else:
            self._ended(call, context, "OK", started_at)
            return reply
        self._ended(call, context, status.code.name, started_at, error=status.message)
        await _abort(context, status, call.request_id)
        return None  # reached only by a client that took no status; gRPC knows the call is over

    def _check_room(self, context: Context) -> None:
        try:
            remaining_s = context.time_remaining() or math.inf
            self._admission.check_room(remaining_s, self._costs.least())
        except Overloaded as error:
            self._metrics.refused(error.reason)
            raise

    def _ended(
        self, call: Call, context: Context, code: str, started_at: float, **more: object
    ) -> None:
        seconds = self._clock() - started_at
        self._metrics.call_ended(call.method, code, seconds)
        is_probe = f"/{names.SERVICE}/{call.method}" in PROBES
        (self._log.debug if is_probe else self._log.info)(
            "call done",
            method=call.method,
            code=code,
            request_id=call.request_id,
            peer=context.peer(),
            total_ms=round(seconds * 1e3, 2),
            **call.fields,
            **more,
        )


class _Requests:
    """A stream's messages; unlike a generator it can be read on after a read was cancelled."""

    def __init__(self, context: Context, read: Callable[[bytes], Message], method: str) -> None:
        self._context = context
        self._read = read
        self._method = method

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Message:
        data = await self._context.read()
        if data is grpc.aio.EOF:
            raise StopAsyncIteration
        return decode(self._read, data, self._method)


async def _abort(context: Context, status: Status, request_id: str) -> None:
    # A client that reads nothing blocks even the status behind our last answer; then the call is
    # dropped.
    with suppress(TimeoutError):
        async with asyncio.timeout(ABORT_PATIENCE_S):
            await context.abort(status.code, status.message, trailers(status, request_id))
