"""Streams of frames as fast as their windows allow, in a process of its own.

Started by `streams`, see `load_process`. Three ways for a frame to travel: "jpeg" (an encoded
file), "raw" (RGB8 in the message), "shm" (RGB8 in shared memory, the alpha back into it). The
messages are made beforehand and sent through the bare stubs: what is measured is the server and the
wire, not how fast this process writes messages. A stream's next frame goes out when an answer has
come.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import shared_memory

import grpc
import numpy as np

from loadtest.load_process import LoadProcess
from loadtest.photos import jpeg, scene
from mattestream.v1 import image_pb2, options_pb2, removal_pb2, removal_pb2_grpc

KINDS = ("jpeg", "raw", "shm")
PREFIX = "mattestream-loadtest-"  # of the shared memory; the server must allow it
DIFFERENT_FRAMES = 4  # a window's worth: none is sent again while it is in work


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One run."""

    address: str  # host:port
    model: str  # "" for the server's default
    kind: str  # of KINDS
    width: int
    height: int
    streams: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """What the streams got."""

    frames: int  # answered with an alpha, between "go" and the end
    seconds: float
    caller_cpu_s: float
    errors: list[str]


def start_streams(spec: StreamSpec) -> LoadProcess:
    """A process whose streams are open and have each had their first answers.

    Raises:
        LoadFailed: it did not get ready.
    """
    return LoadProcess("loadtest.stream_load", json.dumps(asdict(spec)))


def frames_of(process: LoadProcess) -> StreamLoad:
    """Lets that process loose; what its streams got.

    Raises:
        LoadFailed: the process ended before it was done.
    """
    return StreamLoad(**json.loads(process.go()))


class Frames:
    """The messages of one stream, made beforehand, and the shared memory they name."""

    def __init__(self, spec: StreamSpec, stream: int, stack: ExitStack) -> None:
        self.messages: list[removal_pb2.RemoveStreamRequest] = []
        self.alpha_bytes = spec.width * spec.height
        for number in range(DIFFERENT_FRAMES):
            pixels = scene(spec.width, spec.height, seed=stream * DIFFERENT_FRAMES + number)
            frame = removal_pb2.Frame(frame_id=number)
            if spec.kind == "jpeg":
                frame.image.encoded = jpeg(pixels)
            elif spec.kind == "raw":
                frame.image.raw.layout.CopyFrom(_layout(spec))
                frame.image.raw.data = pixels.tobytes()
            else:
                self._place(frame, pixels, spec, stack)
            self.messages.append(removal_pb2.RemoveStreamRequest(frame=frame))

    def _place(
        self, frame: removal_pb2.Frame, pixels: np.ndarray, spec: StreamSpec, stack: ExitStack
    ) -> None:
        name = f"{PREFIX}{time.time_ns():x}"
        size = pixels.nbytes + self.alpha_bytes
        region = shared_memory.SharedMemory(name=name, create=True, size=size)
        stack.callback(region.close)
        stack.callback(region.unlink)
        np.ndarray(pixels.shape, np.uint8, region.buf)[:] = pixels
        shared = frame.image.shared_memory
        shared.layout.CopyFrom(_layout(spec))
        shared.range.name, shared.range.byte_size = name, pixels.nbytes
        output = frame.shared_memory_output
        output.name, output.offset, output.byte_size = name, pixels.nbytes, self.alpha_bytes


def _layout(spec: StreamSpec) -> image_pb2.PixelLayout:
    return image_pb2.PixelLayout(
        format=image_pb2.PIXEL_FORMAT_RGB8, width=spec.width, height=spec.height
    )


class Counted:
    """One stream that counts its answers while `counting`."""

    def __init__(self, stub: removal_pb2_grpc.BackgroundRemovalServiceAsyncStub) -> None:
        self._stub = stub
        self.frames = 0
        self.errors: list[str] = []
        self.is_warm = asyncio.Event()
        self.is_over = False
        self.counting = False

    async def run(self, frames: Frames, model: str) -> None:
        """Sends until `is_over`, and reads what is still to come."""
        call = self._stub.RemoveStream()
        options = options_pb2.RemoveOptions(
            model=model,
            output=options_pb2.OUTPUT_ALPHA,
            format=options_pb2.FORMAT_RAW,
            edges=options_pb2.Edges(refine=options_pb2.REFINE_OFF),  # the engine alone has none
        )
        config = removal_pb2.StreamConfig(options=options)
        await call.write(removal_pb2.RemoveStreamRequest(config=config))
        started = await call.read()
        assert isinstance(started, removal_pb2.RemoveStreamResponse)
        window = min(started.started.window, DIFFERENT_FRAMES)
        sent = 0
        while sent < window:
            await call.write(frames.messages[sent % DIFFERENT_FRAMES])
            sent += 1
        answered = 0
        while answered < sent:
            answer = await call.read()
            if not isinstance(answer, removal_pb2.RemoveStreamResponse):
                self.errors.append("the stream ended early")
                break
            answered += 1
            self._note(answer.frame, frames)
            if answered >= window:
                self.is_warm.set()
            if not self.is_over:
                await call.write(frames.messages[sent % DIFFERENT_FRAMES])
                sent += 1
        self.is_warm.set()
        await call.done_writing()

    def _note(self, frame: removal_pb2.FrameResult, frames: Frames) -> None:
        if frame.HasField("error"):
            self.errors.append(frame.error.message)
        elif self.counting:
            self.frames += 1


async def _serve(spec: StreamSpec, stack: ExitStack) -> None:
    options = (
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),  # each stream its own connection
    )
    channels = [grpc.aio.insecure_channel(spec.address, options) for _ in range(spec.streams)]
    streams = [
        Counted(removal_pb2_grpc.BackgroundRemovalServiceStub(channel)) for channel in channels
    ]
    async with asyncio.TaskGroup() as group:
        for number, stream in enumerate(streams):
            group.create_task(stream.run(Frames(spec, number, stack), spec.model))
        for stream in streams:
            await stream.is_warm.wait()
        print("ready", flush=True)
        is_wanted = (await asyncio.to_thread(sys.stdin.readline)).strip() == "go"
        began, cpu_began = time.perf_counter(), time.process_time()
        for stream in streams:
            stream.counting = True
        if is_wanted:
            await asyncio.sleep(spec.seconds)
        seconds = time.perf_counter() - began
        for stream in streams:
            stream.counting, stream.is_over = False, True
        cpu_s = time.process_time() - cpu_began
    if is_wanted:
        load = StreamLoad(
            frames=sum(stream.frames for stream in streams),
            seconds=seconds,
            caller_cpu_s=cpu_s,
            errors=[error for stream in streams for error in stream.errors][:5],
        )
        print(json.dumps(asdict(load)), flush=True)
    for channel in channels:
        await channel.close()


def main() -> None:
    """Reads a spec, opens the streams, says "ready", waits for "go", prints a `StreamLoad`."""
    spec = StreamSpec(**json.loads(sys.stdin.readline()))
    with ExitStack() as stack:
        asyncio.run(_serve(spec, stack))


if __name__ == "__main__":
    main()
