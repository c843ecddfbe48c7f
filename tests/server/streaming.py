"""Streams as the tests open, feed and read them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import grpc

from mattestream.v1 import removal_pb2
from tests.server.fakes import config_message
from tests.server.serving import Served


async def open_stream(served: Served, **config: object):
    """A stream past its config, and the server's StreamStarted."""
    stream = served.removal.RemoveStream()
    await stream.write(config_message(**config))
    first = await stream.read()
    assert first.WhichOneof("message") == "started"
    return stream, first.started


async def read_all(stream) -> list[removal_pb2.FrameResult]:
    """The frames that are left."""
    frames = []
    with contextlib.suppress(grpc.aio.AioRpcError):  # tests that expect an error ask for it
        while (message := await stream.read()) is not grpc.aio.EOF:
            frames.append(message.frame)
    return frames


async def write_all(stream, messages: Iterable[removal_pb2.RemoveStreamRequest]) -> None:
    """Writes as far as the server reads, then half-closes."""
    for message in messages:
        await stream.write(message)
    await stream.done_writing()


async def ending(stream) -> tuple[grpc.StatusCode, str]:
    """How the stream ended."""
    return await stream.code(), await stream.details()
