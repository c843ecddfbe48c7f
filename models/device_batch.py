"""The memory of one batch in flight, and all that is queued for it, from pictures to alphas.

Made by `models.device_model`, driven by `server.device_runs`: a job table, the network's input
and output and the alphas, at addresses that never change, so that preparing, the engine and the
activation can be recorded once for each batch size and replayed as a CUDA graph.

A recurrent network runs one frame at a time, as on the CPU: a manifest does not say which axis of a
state would be the batch's, and the frames of one stream follow each other anyway. Its states are
brought from the stream's memory to fixed addresses and back, by two launches over the few megabytes
that they are: bound to the stream's own addresses, every run would be launched plainly, hundreds of
kernels, or be recorded anew for each stream.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda import activate, resize_normalise, store_jobs
from kernels.cuda.activate import FLAG_BYTES, RANGE_BYTES
from kernels.device import CaptureFailed, Device, Graph, HostMemory, Memory, Stream
from kernels.image import JOB
from kernels.transfer import Copies, to_device, to_host, within_device
from models.device_engine import Binding, DeviceEngine
from models.manifest import Manifest
from models.prepared_tensor import PreparedTensor
from models.stream_state import Planes, StateRoom, StreamFrame, StreamSteps

log = logging.getLogger(__name__)

DTYPES: Mapping[str, np.dtype[Any]] = {
    "fp32": np.dtype(np.float32),
    "fp16": np.dtype(np.float16),
}


class DeviceBatch:
    """The memory of one batch in flight, and its graphs. Used by one thread at a time."""

    def __init__(
        self,
        manifest: Manifest,
        engine: DeviceEngine,
        device: Device,
        planes: Planes,
        channels: int,
    ) -> None:
        """Takes the memory.

        Args:
            manifest: of the model.
            engine: what runs it.
            device: where.
            planes: of the model.
            channels: of the network's output.

        Raises:
            EngineFailed: the engine cannot be bound.
            DeviceError: there is not enough memory.
        """
        largest = engine.buckets[-1]
        self._manifest = manifest
        self._engine = engine
        self._device = device
        self._planes = planes
        self._channels = channels
        self._jobs = device.allocate(largest * JOB.itemsize)
        self._source = device.allocate(largest * engine.input.nbytes)
        self._answer = device.allocate(largest * engine.output.nbytes)
        self._steps = StreamSteps(device, planes, half=engine.input.element == "fp16")
        self._states = _States(device, planes.states) if engine.states else None
        width, height = planes.alpha
        self._plane_bytes = 4 * width * height
        self._alphas: Memory = device.allocate(largest * self._plane_bytes)
        self._flags: Memory = device.allocate(largest * FLAG_BYTES)
        self._ranges: Memory = device.allocate(largest * RANGE_BYTES)  # the activation's scratch
        self._bindings: dict[int, Binding] = {
            bucket: engine.bind(
                bucket,
                self._source.address,
                self._answer.address,
                self._states.addresses if self._states else (),
            )
            for bucket in engine.buckets
        }
        self._graphs: dict[int, Graph] = {}

    def alpha(self, lane: int) -> int:
        """Address of the alpha of the batch's image number `lane`: (h, w) float32 in [0, 1]."""
        return self._alphas.address + lane * self._plane_bytes

    def flags(self, lane: int) -> int:
        """Address of that image's uint32 that is not 0 when the network answered no numbers."""
        return self._flags.address + lane * FLAG_BYTES

    def flagged(self, stream: Stream) -> bool:
        """True when the network answered no numbers for an image of the last run, which was queued
        on `stream`. Waits for it.
        """
        device = self._device
        host = device.allocate_host(self._flags.nbytes)
        to_host(device, self._flags.address, host.array, stream, Copies())
        device.synchronize(stream)
        return bool(host.array.any())

    def enqueue(
        self,
        jobs: NDArray[np.void],
        stream: Stream,
        frames: Sequence[StreamFrame | None] = (),
    ) -> bool:
        """Queues all from the pictures to their alphas; True when it is the replay of a graph.

        Args:
            jobs: (n,) of dtype `kernels.image.JOB`, n up to the largest bucket.
            stream: where.
            frames: what streams remember for those of the pictures that are frames of one, None for
                the others; of each stream one frame.

        Raises:
            EngineFailed: the engine refused.
            DeviceError: the device refused.
        """
        bucket = next(each for each in self._bindings if each >= len(jobs))
        padded = np.zeros(bucket, JOB)  # a job without an image leaves its lane empty
        padded[: len(jobs)] = jobs
        # As kernel parameters, so that the sizes of a batch cost no copy of their own.
        store_jobs.store_jobs(self._device, stream, padded, target=self._jobs.address)
        if self._states is not None:
            # The states depend on what is shown: a cut begins anew.
            self._prepare(bucket, stream)
            frame = frames[0] if frames else None
            if frame is not None:
                self._steps.look(frame, self._source.address, stream)
            self._steps.load(frame, self._states.given.address, stream)
        graph = self._graphs.get(bucket)
        if graph is not None:
            graph.launch(stream)
        else:
            self._queue(bucket, stream)
        for lane, frame in enumerate(frames):
            if frame is not None:
                self._remember(frame, lane, stream)
        return graph is not None

    def enqueue_tensors(
        self, tensors: Sequence[PreparedTensor], stream: Stream
    ) -> tuple[HostMemory, HostMemory]:
        """Queues the network alone, for inputs that the caller has prepared.

        Args:
            tensors: up to the largest bucket.
            stream: where.

        Returns:
            The page-locked memory that is copied from, and what the answers are copied to, both to
            be kept until the stream is there.
        """
        device, engine = self._device, self._engine
        bucket = next(each for each in self._bindings if each >= len(tensors))
        came = device.allocate_host(bucket * engine.input.nbytes)
        came.array[:] = 0
        rows = came.array.view(DTYPES[engine.input.element]).reshape(bucket, -1)
        on_host = [lane for lane, each in enumerate(tensors) if not isinstance(each.source, int)]
        for lane in on_host:
            rows[lane] = np.ravel(tensors[lane].source)
        if on_host:
            to_device(device, came.array, self._source.address, stream, Copies())
        else:  # what no tensor fills must be numbers, too
            device.clear(self._source.address, bucket * engine.input.nbytes, stream)
        for lane, each in enumerate(tensors):
            if isinstance(each.source, int):
                within_device(
                    device,
                    each.source,
                    self._source.address + lane * engine.input.nbytes,
                    nbytes=engine.input.nbytes,
                    stream=stream,
                    copies=Copies(),
                )
        if self._states is not None:
            self._steps.load(None, self._states.given.address, stream)
        self._bindings[bucket].enqueue(stream)
        nbytes = engine.output.nbytes
        answer = device.allocate_host(len(tensors) * nbytes)
        for lane, each in enumerate(tensors):
            if each.target is not None:
                start = self._answer.address + lane * nbytes
                within_device(
                    device, start, each.target, nbytes=nbytes, stream=stream, copies=Copies()
                )
        if any(each.target is None for each in tensors):
            to_host(device, self._answer.address, answer.array, stream, Copies())
        return came, answer

    def record(self, bucket: int, stream: Stream) -> None:
        """Records the work of one batch size, where the engine allows; else it stays plain."""
        if not self._engine.can_be_captured:
            return
        try:
            self._graphs[bucket] = self._device.capture(stream, lambda: self._queue(bucket, stream))
        except CaptureFailed as error:
            log.warning("batches of %d are launched plainly, not as a graph: %s", bucket, error)

    @property
    def recorded(self) -> Sequence[int]:
        """Batch sizes that are replayed."""
        return sorted(self._graphs)

    def _queue(self, bucket: int, stream: Stream) -> None:
        """What is recorded: of a recurrent network all behind its states, which lie at addresses of
        their own for each stream until `load` has brought them here.
        """
        if self._states is None:
            self._prepare(bucket, stream)
        self._bindings[bucket].enqueue(stream)
        output = self._manifest.output
        width, height = self._planes.alpha
        activate.activate(
            self._device,
            stream,
            raw=self._answer.address,
            batch=bucket,
            layout=output.layout,
            channels=self._channels,
            height=height,
            width=width,
            channel=output.channel or 0,
            activation=output.activation,
            element=self._engine.output.element,
            target=self._alphas.address,
            flags=self._flags.address,
            ranges=self._ranges.address,
        )

    def _prepare(self, bucket: int, stream: Stream) -> None:
        wanted = self._manifest.input
        resize_normalise.resize_normalise(
            self._device,
            stream,
            jobs=self._jobs.address,
            batch=bucket,
            target=self._source.address,
            width=wanted.width,
            height=wanted.height,
            mean=wanted.mean,
            std=wanted.std,
            layout=wanted.layout,
            channels=wanted.channels,
            element=self._engine.input.element,
        )

    def _remember(self, frame: StreamFrame, lane: int, stream: Stream) -> None:
        """What the stream goes on with, and the alpha that it shows."""
        if self._states is not None:
            self._steps.keep(frame, self._states.handed_on.address, stream)
        else:
            source = self._source.address + lane * self._engine.input.nbytes
            self._steps.look(frame, source, stream)
        self._steps.steady(frame, self.alpha(lane), stream)


class _States:
    """Where the engine reads the states of one frame, and where it writes those for the next."""

    def __init__(self, device: Device, room: StateRoom) -> None:
        self.given: Memory = device.allocate(room.nbytes)
        self.handed_on: Memory = device.allocate(room.nbytes)
        self.addresses = list(
            zip(
                room.addresses(self.given.address),
                room.addresses(self.handed_on.address),
                strict=True,
            )
        )
