"""A gRPC server whose answers a test writes, for what a healthy server will not do on cue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import pytest

from mattestream.v1 import image_pb2, removal_pb2, removal_pb2_grpc, report_pb2

Responses = Iterator[removal_pb2.RemoveStreamResponse]
Requests = Iterator[removal_pb2.RemoveStreamRequest]
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]


@dataclass
class Script(removal_pb2_grpc.BackgroundRemovalServiceServicer):
    """What the server does; a test sets `on_remove` or `on_stream`."""

    on_remove: Callable[
        [removal_pb2.RemoveRequest, grpc.ServicerContext], removal_pb2.RemoveResponse
    ] = field(default=lambda request, context: echo(request))
    on_stream: Callable[[Requests, grpc.ServicerContext], Responses] = field(
        default=lambda requests, context: echo_stream(requests)
    )
    calls: int = 0
    metadata: dict[str, str | bytes] = field(default_factory=dict)
    address: str = ""

    def Remove(self, request, context):  # noqa: N802
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())
        return self.on_remove(request, context)

    def RemoveStream(self, request_iterator, context):  # noqa: N802
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())
        return self.on_stream(request_iterator, context)


def result_of(data: bytes) -> image_pb2.Result:
    encoded = image_pb2.EncodedImage(media_type="image/png", data=data)
    return image_pb2.Result(encoded=encoded, width=3, height=2)


def echo(request: removal_pb2.RemoveRequest) -> removal_pb2.RemoveResponse:
    return removal_pb2.RemoveResponse(
        result=result_of(request.image.encoded), report=report_pb2.Report(request_id="id-1")
    )


def started(window: int) -> removal_pb2.RemoveStreamResponse:
    message = removal_pb2.StreamStarted(stream_id="s-1", window=window)
    return removal_pb2.RemoveStreamResponse(started=message)


def answer(frame: removal_pb2.Frame, **fields: object) -> removal_pb2.RemoveStreamResponse:
    result = removal_pb2.FrameResult(frame_id=frame.frame_id, pts=frame.pts, **fields)
    if result.WhichOneof("outcome") is None:
        result.result.CopyFrom(result_of(frame.image.encoded))
    return removal_pb2.RemoveStreamResponse(frame=result)


def echo_stream(requests: Requests, window: int = 2) -> Responses:
    assert next(requests).HasField("config")
    yield started(window)
    for request in requests:
        yield answer(request.frame)


@pytest.fixture
def script() -> Iterator[Script]:
    """A running server that answers every picture with its own bytes until told otherwise."""
    script = Script()
    server = grpc.server(ThreadPoolExecutor(8), options=OPTIONS)
    removal_pb2_grpc.add_BackgroundRemovalServiceServicer_to_server(script, server)
    script.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield script
    server.stop(None).wait()
