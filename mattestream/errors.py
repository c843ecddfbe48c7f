"""Everything that can go wrong, as exceptions a caller can tell apart; both clients raise them.

    MattestreamError            .request_id, .retry_after_s
    ├── InvalidRequest          an option, or the request as a whole    INVALID_ARGUMENT
    │   └── BadImage            the picture itself                      INVALID_ARGUMENT
    ├── ModelNotFound           no model of that name                   NOT_FOUND
    ├── ModelNotReady           weights missing, licence not accepted   FAILED_PRECONDITION
    ├── NotBuilt                an option not built yet                 UNIMPLEMENTED
    ├── NotAllowed              no key, a wrong key, or no right        UNAUTHENTICATED, ...
    ├── MessageTooLarge         over one end's message limit            RESOURCE_EXHAUSTED
    ├── Overloaded              the server is full                      RESOURCE_EXHAUSTED
    ├── DeadlineExceeded        not done within `timeout_s`             DEADLINE_EXCEEDED
    ├── Unavailable             nobody there, or shutting down          UNAVAILABLE
    ├── Cancelled               given up, or the client is closed       CANCELLED
    └── ServerError             the server's own fault                  INTERNAL, ...

The sentences come from the server as they are: what was seen, what is allowed, what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import grpc

from mattestream.grpc_words import TOO_LARGE, own_words
from mattestream.v1 import removal_pb2

REQUEST_ID_KEY = "x-request-id"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
# The server's own name of the error, where one status code stands for several: see `_refine`.
REASON_KEY = "mattestream-reason"


class MattestreamError(Exception):
    """Base of everything this package raises about a call.

    Attributes:
        request_id: the id in the server's log; empty when the request never got there.
        retry_after_s: seconds after which to try again; None when the server named none.
    """

    def __init__(
        self, message: str, *, request_id: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class InvalidRequest(MattestreamError):
    """An option, or the request as a whole, is not something the server can read."""


class BadImage(InvalidRequest):
    """The picture itself is at fault: not an image, damaged, or larger than the server takes."""


class ModelNotFound(MattestreamError):
    """There is no model of that name."""


class ModelNotReady(MattestreamError):
    """The model exists but cannot be used as things are: weights missing, licence not accepted."""


class NotBuilt(MattestreamError):
    """The option is part of the contract, but this server does not build it yet."""


class NotAllowed(MattestreamError):
    """No API key, a wrong one, or one without the right."""


class MessageTooLarge(MattestreamError):
    """A request or a reply is over the message limit of one of the two ends."""


class Overloaded(MattestreamError):
    """The server is full. `retry_after_s` says when to come back; the client has already tried."""


class DeadlineExceeded(MattestreamError):
    """The call was not done within its `timeout_s`."""


class Unavailable(MattestreamError):
    """Nobody answers at that address, or the server is shutting down."""


class Cancelled(MattestreamError):
    """The call was given up before it was answered, or its client is closed."""


class ServerError(MattestreamError):
    """The server's own fault. `request_id` finds the trace in its log."""


# Codes that are not here (UNKNOWN, INTERNAL, DATA_LOSS, ABORTED, ...) are ServerError.
BY_CODE: Mapping[grpc.StatusCode, type[MattestreamError]] = MappingProxyType(
    {
        grpc.StatusCode.CANCELLED: Cancelled,
        grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
        grpc.StatusCode.NOT_FOUND: ModelNotFound,
        grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
        grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
        grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
        grpc.StatusCode.FAILED_PRECONDITION: ModelNotReady,
        grpc.StatusCode.UNIMPLEMENTED: NotBuilt,
        grpc.StatusCode.UNAVAILABLE: Unavailable,
    }
)
# grpc.aio 1.85 puts this in the place of the server's status when the call ends during a write: 4 %
# of streams that a server refuses at once (seen with a server that refuses 1,000 of them).
_LOST_STATUS = "Internal error from Core"
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}

Metadata = Iterable[tuple[str, str | bytes]]


def from_status(
    code: grpc.StatusCode | int,
    message: str,
    metadata: Metadata | None = None,
) -> MattestreamError:
    """The exception that stands for a call's final status.

    Args:
        code: the status, as grpc's enum or as its number on the wire.
        message: the status text.
        metadata: the call's trailing metadata; holds the request id and the retry hint.
    """
    if isinstance(code, int):
        code = _BY_NUMBER.get(code, grpc.StatusCode.UNKNOWN)
    fields = {key: _text(value) for key, value in metadata or ()}
    kind = _refine(code, message, fields.get(REASON_KEY, ""))
    return kind(
        message or f"the server gave no reason (status {code.name})",
        request_id=fields.get(REQUEST_ID_KEY, ""),
        retry_after_s=_seconds(fields.get(PUSHBACK_KEY)),
    )


def from_frame_error(error: removal_pb2.Error, request_id: str) -> MattestreamError:
    """The exception that stands for one failed frame of a stream."""
    metadata = {REASON_KEY: error.reason, REQUEST_ID_KEY: request_id}
    if error.retry_after_ms:
        metadata[PUSHBACK_KEY] = str(error.retry_after_ms)
    return from_status(error.code, error.message, metadata.items())


def from_rpc_error(error: grpc.RpcError) -> MattestreamError:
    """The exception that stands for what grpc raised, on a sync or an async channel."""
    # What a sync channel raises is a Call too, and an AioRpcError has the same three methods; the
    # base class that both promise has none of them.
    call: Any = error
    if call.code() is grpc.StatusCode.INTERNAL and call.details() == _LOST_STATUS:
        return Unavailable(
            "the server ended the stream while a frame was being sent, and grpc lost its reason: "
            "open the stream anew; the server's log says why"
        )
    code, details = call.code(), call.details() or ""
    return from_status(code, own_words(code, details), call.trailing_metadata())


def _refine(code: grpc.StatusCode, message: str, reason: str) -> type[MattestreamError]:
    """The class for a code, told apart further where one code stands for two situations."""
    kind = BY_CODE.get(code, ServerError)
    # grpc itself answers an over-long message with the code that servers use for "full"; only
    # its words differ, and what `own_words` made of them.
    if kind is Overloaded and (TOO_LARGE in message or "message larger than max" in message):
        return MessageTooLarge
    if kind is InvalidRequest and reason == "image":
        return BadImage
    return kind


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _seconds(pushback_ms: str | None) -> float | None:
    """Seconds from the pushback trailer; None when absent or negative ("do not retry")."""
    try:
        milliseconds = int(pushback_ms or "")
    except ValueError:
        return None
    return milliseconds / 1000 if milliseconds >= 0 else None
