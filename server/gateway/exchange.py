"""What every HTTP request passes: an id, the gate, the key, errors in the API's own words, one log
line, metrics. The twin of `server.interceptors`.

`server.gateway.gateway` makes routes of it; the APIs are handlers that take an `Exchange` and
return a response, or raise.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Protocol, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.auth import ApiKeys, owner_of
from server.calls import Call, open_call
from server.errors import REQUEST_ID, forget_frames
from server.fair_queue import read_priority
from server.gateway.door import Removed
from server.gateway.errors import Failure, failure_of
from server.gateway.intake import CallerGone, Hold, Room
from server.gateway.rates import Rates
from server.metrics import Metrics
from server.shutdown import Gate

T = TypeVar("T")
HUNG_UP = 499  # what logs call it; nobody is there to read it


class Words(Protocol):
    """How one API says that something went wrong."""

    def __call__(self, failure: Failure, request_id: str) -> Response:
        """The answer to a request that failed."""


class Exchange:
    """One request under way.

    Attributes:
        request: as Starlette has it.
        call: its id and its log line's fields.
        hold: its share of the room for bodies.
    """

    def __init__(self, request: Request, call: Call, hold: Hold, rates: Rates) -> None:
        self.request = request
        self.call = call
        self.hold = hold
        self._rates = rates

    def weigh(self, megapixels: float) -> None:
        """Takes a picture of that size from what the caller may send in a minute.

        Raises:
            TooMany: that is used up.
        """
        self._rates.take(self.call.caller, megapixels)

    @property
    def rate_headers(self) -> dict[str, str]:
        """What is left of the caller's minute."""
        return self._rates.headers(self.call.caller)

    async def while_connected(self, work: Awaitable[T]) -> T:
        """What `work` returns; it is cancelled when the caller hangs up. The body must be read.

        Raises:
            CallerGone: the caller hung up.
        """
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._hangs_up())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await _ended_early(task)
                raise CallerGone
            return task.result()
        except asyncio.CancelledError:
            await _ended_early(task)
            raise
        finally:
            gone.cancel()

    async def _hangs_up(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass


async def _ended_early(task: asyncio.Future[T]) -> None:
    """Waits until the work is over; what it made in its last moment gives up its room."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and task.exception() is None:
        made = task.result()
        if isinstance(made, Removed):
            made.release()


Handler = Callable[[Exchange], Awaitable[Response]]


class Exchanges:
    """Wraps handlers into routes.

    Args:
        gate: counts who is inside, and closes when the server drains.
        api_keys: the accepted keys, the same as over gRPC.
        metrics: told of every request that ends.
        rates: of each caller.
        room: for bodies.
        clock: seconds.
    """

    def __init__(
        self,
        gate: Gate,
        api_keys: ApiKeys,
        metrics: Metrics,
        rates: Rates,
        room: Room,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate = gate
        self._api_keys = api_keys
        self._metrics = metrics
        self._rates = rates
        self._room = room
        self._clock = clock
        self._log = structlog.get_logger("server")

    def route(self, method: str, path: str, handler: Handler, words: Words) -> Route:
        """A route whose requests need a key, where the server wants keys at all."""
        name = f"{method} {path}"

        async def endpoint(request: Request) -> Response:
            return await self._serve(name, request, handler, words)

        return Route(path, endpoint, methods=[method], name=name)

    async def _serve(self, name: str, request: Request, handler: Handler, words: Words) -> Response:
        started_at = self._clock()
        metadata = tuple(
            (key.decode("latin-1"), value.decode("latin-1")) for key, value in request.headers.raw
        )
        call = open_call("", metadata)
        call.method = name
        exchange = Exchange(request, call, Hold(self._room), self._rates)
        with ExitStack() as stack:
            stack.callback(exchange.hold.release)
            try:
                stack.enter_context(self._gate.passed())
                self._api_keys.check(metadata)
                call.owner = owner_of(metadata) if self._api_keys else ""
                call.caller = call.owner or _address(request)
                call.priority = read_priority(metadata)
                response = await handler(exchange)
            except asyncio.CancelledError:
                self._ended(call, request, "CANCELLED", 0, started_at)
                raise
            except CallerGone:
                self._ended(call, request, "CANCELLED", HUNG_UP, started_at)
                return Response(status_code=HUNG_UP)
            except Exception as error:  # the table decides; what it does not know is ours
                failure = failure_of(error, call.request_id)
                if failure.is_internal:
                    self._log.error("internal error", request_id=call.request_id, exc_info=error)
                response = words(failure, call.request_id)
                if failure.retry_after_s and "retry-after" not in response.headers:
                    seconds = max(1, math.ceil(failure.retry_after_s))
                    response.headers["Retry-After"] = str(seconds)
                code, more = failure.code, {"error": failure.message}
                forget_frames(error)
            else:
                code, more = "OK", {}
        response.headers[REQUEST_ID] = call.request_id
        if call.caller:
            for key, value in exchange.rate_headers.items():
                response.headers[key] = value
        self._ended(call, request, code, response.status_code, started_at, **more)
        return response

    def _ended(
        self,
        call: Call,
        request: Request,
        code: str,
        status: int,
        started_at: float,
        **more: object,
    ) -> None:
        seconds = self._clock() - started_at
        self._metrics.call_ended(call.method, code, seconds)
        self._log.info(
            "call done",
            method=call.method,
            code=code,
            http_status=status,
            request_id=call.request_id,
            peer=_address(request),
            total_ms=round(seconds * 1e3, 2),
            **call.fields,
            **more,
        )


def own_words(failure: Failure, request_id: str) -> JSONResponse:
    """`{"error": {"code", "message", "request_id", "retry_after_ms"}}`."""
    error: dict[str, object] = {
        "code": failure.code,
        "message": failure.message,
        "request_id": request_id,
    }
    if failure.retry_after_s:
        error["retry_after_ms"] = math.ceil(failure.retry_after_s * 1e3)
    headers = {"WWW-Authenticate": "Bearer"} if failure.status == 401 else None
    return JSONResponse({"error": error}, failure.status, headers)


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else "unknown"
