"""The small rules that both clients follow around a call: sizes, ids, waiting, errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import grpc

from mattestream.errors import (
    REQUEST_ID_KEY,
    DeadlineExceeded,
    MattestreamError,
    MessageTooLarge,
    NotBuilt,
    Unavailable,
    from_rpc_error,
)
from mattestream.request import Frame, build_frame
from mattestream.v1 import removal_pb2

_MIB = 1024 * 1024


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
    """The call's metadata with the caller's own id."""
    return (*metadata, (REQUEST_ID_KEY, request_id)) if request_id else metadata


def check_still_waiting(error: MattestreamError, service: str, timeout_s: float) -> None:
    """Lets a broken health watch be opened again; raises when waiting on makes no sense.

    Raises:
        DeadlineExceeded: the time is over.
        MattestreamError: anything but a connection that broke.
    """
    if isinstance(error, DeadlineExceeded):
        what = f"{service} on the server" if service else "the server"
        raise DeadlineExceeded(
            f"{what} was not ready within {timeout_s:g} s: is it running, at this address?"
        ) from error
    if isinstance(error, NotBuilt):
        raise NotBuilt(
            "the server at this address has no health service: it is not a mattestream server"
        ) from error
    if not isinstance(error, Unavailable):
        raise error


@contextlib.contextmanager
def typed_errors(first: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Turns what grpc raises into our errors; `first` may raise a better one."""
    try:
        yield
    except grpc.RpcError as error:
        first()
        raise from_rpc_error(error) from error
