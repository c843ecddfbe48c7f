"""The small rules that both clients follow around a call: sizes, ids, waiting, errors."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator

import grpc

from mattestream import health
from mattestream.errors import (
    REQUEST_ID_KEY,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    MattestreamError,
    MessageTooLarge,
    NotBuilt,
    Unavailable,
    from_rpc_error,
)
from mattestream.request import Frame, build_frame
from mattestream.v1 import removal_pb2

_MIB = 1024 * 1024
# The server's rule (server/calls.py). It would replace another id without a word, and grpc answers
# a line end or 16 KiB as if the server were broken or full.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_CLOSED = "this client was closed: make a new one"


def check_size(message_bytes: int, max_message_bytes: int) -> None:
    """Refuses a message that grpc would refuse to send; grpc's own error names no way out.

    Raises:
        MessageTooLarge: the message is over the client's limit.
    """
    if message_bytes > max_message_bytes:
        raise MessageTooLarge(
            f"the request is {message_bytes / _MIB:.1f} MiB, this client sends up to "
            f"{max_message_bytes / _MIB:g} MiB: send a smaller or an encoded image, "
            "or raise max_message_mib here and on the server"
        )


def frame_message(
    frame: Frame, frame_id: int, max_message_bytes: int
) -> removal_pb2.RemoveStreamRequest:
    """The frame's message.

    Raises:
        MattestreamError: the picture cannot be read or is over the message limit. An over-long
            message that was sent all the same would end the whole stream.
    """
    message = build_frame(frame, frame_id)
    check_size(message.ByteSize(), max_message_bytes)
    return message


def with_request_id(
    metadata: tuple[tuple[str, str], ...], request_id: str | None
) -> tuple[tuple[str, str], ...]:
    """The call's metadata with the caller's own id.

    Raises:
        InvalidRequest: the id is none that a server would keep.
    """
    if not request_id:
        return metadata
    if not _REQUEST_ID.fullmatch(request_id):
        seen = request_id if len(request_id) <= 128 else f"{request_id[:20]}..."
        raise InvalidRequest(
            f"request_id is {seen!r} ({len(request_id)} characters): give 1 to 128 of the ASCII "
            "letters, digits and . _ : / + = @ -"
        )
    return (*metadata, (REQUEST_ID_KEY, request_id))


def check_still_waiting(
    error: MattestreamError, model: str | None, status: int | None, timeout_s: float
) -> None:
    """Lets a broken health watch be opened again; raises when waiting on makes no sense.

    Args:
        error: how the watch ended.
        model: whose readiness is waited for; None for the server's.
        status: what the server said last; None when it has said nothing.
        timeout_s: how long it was waited, for the sentence.

    Raises:
        DeadlineExceeded: the time is over.
        MattestreamError: anything but a connection that broke.
    """
    if isinstance(error, DeadlineExceeded):
        what = f"model {model!r}" if model else "the server"
        raise DeadlineExceeded(
            f"{what} was not ready within {timeout_s:g} s: {_why_not_ready(model, status)}"
        ) from error
    if isinstance(error, NotBuilt):
        raise NotBuilt(
            "the server at this address has no health service: it is not a mattestream server"
        ) from error
    if not isinstance(error, Unavailable):
        raise error


def _why_not_ready(model: str | None, status: int | None) -> str:
    if status is None:
        return "is the server running, at this address, with TLS on both ends or on neither?"
    if status == health.SERVICE_UNKNOWN and model:
        return (
            "the server answers, but has not loaded a model of that name; list_models() says which "
            "it knows, load_model() loads one"
        )
    return "the server answers, but is still loading or shutting down"


@contextlib.contextmanager
def typed_errors(
    is_closed: Callable[[], bool], first: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Turns what grpc raises into our errors.

    Args:
        is_closed: asks whether the client was closed; then every call ends with `Cancelled`, for
            which grpc raises different things before, during and after a call.
        first: may raise a better error.
    """
    try:
        yield
    except MattestreamError:
        raise
    except grpc.RpcError as error:
        first()
        raise from_rpc_error(error) from error
    except asyncio.CancelledError as error:
        # grpc.aio reports a call that we ended ourselves as the task's cancellation; the task's
        # own count tells whether anybody asked for that.
        first()
        task = asyncio.current_task()
        if is_closed() and not (task and task.cancelling()):
            raise Cancelled(_CLOSED) from error
        raise
    except Exception as error:  # ValueError from grpc, UsageError from grpc.aio
        first()
        if is_closed():
            raise Cancelled(_CLOSED) from error
        raise
