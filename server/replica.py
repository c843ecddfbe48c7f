"""One loaded model on one device, with all that an image needs to pass through it.

Made by `server.model_host`: one on a CPU, one for each GPU that the server was given.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import structlog

from kernels.device import Device, DeviceError
from mattestream.v1 import report_pb2
from models.errors import DeviceNotAvailable
from models.key_model import KeyModel
from models.loaded import Loaded
from models.model import Model
from models.target import Target
from server.batcher import Batcher
from server.codecs.header import Limits
from server.host_pipeline import HostPipeline
from server.key_pipeline import KeyPipeline
from server.pipeline import Pipeline
from server.replies import model_used
from server.streams.memory import StreamMemory
from server.workers import Lane, Stage, Workers

if TYPE_CHECKING:
    from server.codecs.nv_jpeg import NvJpegDecoder


@dataclass(slots=True, eq=False)
class Replica:
    """A loaded model and what goes with it."""

    model: Loaded
    pipeline: Pipeline
    batcher: Batcher
    tensors: Batcher  # of inputs that callers have prepared themselves: `Pipeline.run_tensors`
    used: report_pb2.ModelUsed  # as every report names it
    own_workers: Workers | None  # threads of an engine that does not share the cores
    room: asyncio.Semaphore | None  # the pipeline's seats
    users: int = 0
    streams: WeakSet[StreamMemory] = field(default_factory=WeakSet)  # whose memory lies here
    is_lost: bool = False  # its device does nothing any more

    @property
    def gpu(self) -> Device | None:
        """The GPU that it works on; None: the CPU."""
        return getattr(self.model, "device", None)

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[Any]:
        """What the pipeline needs for one image; waits while all of it is taken."""
        if self.room is None:
            with self.pipeline.seat() as seat:
                yield seat
            return
        async with self.room:
            with self.pipeline.seat() as seat:
                yield seat

    def free(self) -> None:
        """Ends the threads and frees the model; blocks. Nothing uses the replica any more."""
        if self.own_workers is not None:
            self.own_workers.close()
        try:
            self.pipeline.free()
        finally:
            self.model.close()


def make_replica(
    model: Loaded,
    target: Target,
    workers: Workers,
    limits: Limits,
    *,
    gpu_jpeg: str = "auto",
    slot_bytes: int = 4 << 30,
    on_batch: Callable[[int], None],
    on_launch: Callable[[bool], None],
    on_lost: Callable[[DeviceError], None],
    clock: Callable[[], float] = time.monotonic,
) -> Replica:
    """A warm model, ready to take images.

    Args:
        model: on the CPU or on a GPU.
        target: which.
        workers: the threads that CPU engines run on.
        limits: of the images it takes.
        gpu_jpeg: see `make_pipeline`.
        slot_bytes: see `make_pipeline`.
        on_batch: told the number of images of every run.
        on_launch: told of every run on a GPU whether it was the replay of a graph.
        on_lost: told when the device does nothing any more; from another thread.
        clock: seconds.
    """
    pipeline = make_pipeline(
        model,
        target,
        limits,
        gpu_jpeg=gpu_jpeg,
        slot_bytes=slot_bytes,
        on_launch=on_launch,
        on_lost=on_lost,
    )
    own_workers: Workers | None = None
    lane: Lane = workers.lane(Stage.RUN)
    if model.engine.device != "cpu":
        # The device does the work: threads that only wait for it must not take the codecs' place.
        own_workers = Workers(model.max_concurrent_runs, name=f"engine-{model.manifest.name}")
        own_workers.start()
        lane = own_workers.lane(Stage.RUN)

    def new_batcher(run: Callable[[list[Any]], Any]) -> Batcher:
        return Batcher(
            run,
            lane,
            max_batch=model.max_batch,
            max_concurrent_runs=model.max_concurrent_runs,
            on_batch=on_batch,
            clock=clock,
        )

    batcher, tensors = new_batcher(pipeline.run), new_batcher(pipeline.run_tensors)
    room = asyncio.Semaphore(pipeline.seats) if pipeline.seats else None
    return Replica(model, pipeline, batcher, tensors, model_used(model), own_workers, room)


def make_pipeline(
    model: Loaded,
    target: Target,
    limits: Limits,
    *,
    gpu_jpeg: str = "auto",
    slot_bytes: int = 4 << 30,
    on_launch: Callable[[bool], None] = lambda is_graph: None,
    on_lost: Callable[[DeviceError], None] = lambda error: None,
) -> Pipeline:
    """The stages for images of `model`, on the device that it is on.

    Args:
        model: loaded and warm.
        target: where.
        limits: of the images it takes.
        gpu_jpeg: "on": JPEG is decoded on the GPU; "auto": where nvImageCodec can; "off": never.
        slot_bytes: memory of a GPU that is kept for the next images.
        on_launch: told of every run on a GPU whether it was the replay of a graph.
        on_lost: told when the device does nothing any more; from another thread.

    Raises:
        DeviceNotAvailable: `gpu_jpeg` is "on", and nvImageCodec cannot.
    """
    if isinstance(model, Model):
        return HostPipeline(model, limits)
    if isinstance(model, KeyModel):
        return KeyPipeline(model, limits)
    from server.device_pipeline import DevicePipeline  # what a GPU needs is not read on a CPU

    decoder = None if gpu_jpeg == "off" else _jpeg_decoder(target, required=gpu_jpeg == "on")
    return DevicePipeline(
        model,
        limits,
        jpeg=decoder,
        keep_bytes=slot_bytes,
        on_launch=on_launch,
        on_lost=on_lost,
    )


def _jpeg_decoder(target: Target, *, required: bool) -> NvJpegDecoder | None:
    from server.codecs.nv_jpeg import NvJpegDecoder, NvJpegUnavailable

    log = structlog.get_logger("server")
    try:
        decoder = NvJpegDecoder(target.index or 0)
    except NvJpegUnavailable as error:
        if required:
            raise DeviceNotAvailable(f"--gpu-jpeg on: {error}") from error
        log.info("jpeg decoder", device="cpu", why=str(error))
        return None
    log.info("jpeg decoder", device=target.device, library=decoder.name)
    return decoder
