"""A model on a GPU: pictures that lie in device memory become alphas that lie there too.

Made by `models.device_loading`, driven by `server.device_pipeline`. `models.model` is its sibling
for the CPU. What one batch needs is one `DeviceBatch`: a job table, the network's input and output
and the alphas, at addresses that never change, so that preparing, the engine and the activation can
be recorded once for each batch size and replayed as a CUDA graph.
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
from kernels.image import JOB, PixelFormat, image_struct, job_struct
from kernels.letterbox import Placement
from kernels.transfer import Copies, to_device, to_host
from models.device_engine import Binding, DeviceEngine
from models.errors import EngineFailed
from models.graph_check import channel_problem
from models.manifest import Manifest

log = logging.getLogger(__name__)

DTYPES: Mapping[str, np.dtype[Any]] = {
    "fp32": np.dtype(np.float32),
    "fp16": np.dtype(np.float16),
}
BATCHES_IN_FLIGHT = 2  # while the device works on one, the next is formed and queued behind it


class DeviceModel:
    """A manifest and an engine loaded on one GPU."""

    max_concurrent_runs = BATCHES_IN_FLIGHT

    def __init__(
        self,
        manifest: Manifest,
        engine: DeviceEngine,
        weights_sha256: str,
        device: Device,
        stream: Stream,
    ) -> None:
        """Stores, and takes the memory of the batches in flight.

        Args:
            manifest: what the model is.
            engine: what runs it.
            weights_sha256: digest of the bytes that were really loaded, 64 hex digits.
            device: the GPU.
            stream: where everything is computed.

        Raises:
            EngineFailed: the engine's output is not what the manifest says.
            DeviceError: there is not enough memory.
        """
        self.manifest = manifest
        self.engine = engine
        self.weights_sha256 = weights_sha256
        self.device = device
        self.stream = stream
        self.alpha_height, self.alpha_width = self._output_sides()
        self.batches = [DeviceBatch(self) for _ in range(BATCHES_IN_FLIGHT)]

    @property
    def max_batch(self) -> int:
        """Most images in one run."""
        return self.engine.buckets[-1]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the network's own answer without the batch axis."""
        return self.engine.output.shape

    @property
    def channels(self) -> int:
        """Channels of the network's output."""
        layout = self.manifest.output.layout
        return 1 if layout == "NHW" else self.engine.output.shape[layout.index("C") - 1]

    def warm(self) -> None:
        """Compiles the kernels, runs a blank image at every batch size, records the graphs.

        Raises:
            EngineFailed: a run failed.
            DeviceError: the device refused.
        """
        self.device.use()
        self.device.load(*resize_normalise.KERNELS, *activate.KERNELS, *store_jobs.KERNELS)
        wanted = self.manifest.input
        pixels = np.full(3 * wanted.width * wanted.height, 128, np.uint8)
        memory = self.device.allocate(pixels.nbytes)
        host = self.device.allocate_host(pixels.nbytes)
        host.array[:] = pixels
        to_device(self.device, host.array, memory.address, self.stream, Copies())
        image = image_struct(
            ((memory.address, 3 * wanted.width),), wanted.width, wanted.height, PixelFormat.RGB8
        )
        job = job_struct(image, Placement(0, 0, wanted.width, wanted.height))
        for batch in self.batches:
            for bucket in self.engine.buckets:
                batch.enqueue(np.repeat(job, bucket), self.stream)
                self.device.synchronize(self.stream)  # nothing of a first run gets into the graph
                batch.record(bucket, self.stream)
            if batch.flagged():
                raise self._failed("answered values that are not numbers for a grey picture")

    def close(self) -> None:
        """Frees the device's memory and the engine; the model is not run again."""
        try:
            self.device.use()
            self.device.synchronize(self.stream)
        finally:  # a lost device must not keep the rest
            self.batches.clear()
            self.engine.close()

    def _output_sides(self) -> tuple[int, int]:
        """Rows and columns of the network's alpha."""
        output, spec = self.manifest.output, self.engine.output
        axes = output.layout.replace("N", "", 1)
        if len(spec.shape) != len(axes):
            raise self._failed(f"answers {len(spec.shape) + 1} axes, not {output.layout}")
        if "C" in axes and (problem := channel_problem(self.manifest, spec.shape[axes.index("C")])):
            raise self._failed(f"answers {spec.shape}: {problem}")
        height, width = spec.shape[axes.index("H")], spec.shape[axes.index("W")]
        wanted = self.manifest.input
        # Letterbox bars are cut out of the answer by proportion, so it must have the input's shape.
        if wanted.fit != "stretch" and height * wanted.width != width * wanted.height:
            raise self._failed(
                f"answers {width} x {height} for {wanted.width} x {wanted.height}: with fit "
                f"'{wanted.fit}' both need the same aspect ratio"
            )
        return height, width

    def _failed(self, what: str) -> EngineFailed:
        return EngineFailed(f"model '{self.manifest.name}' ({self.manifest.path}) {what}")


class DeviceBatch:
    """The memory of one batch in flight, and its graphs. Used by one thread at a time."""

    def __init__(self, model: DeviceModel) -> None:
        engine, device = model.engine, model.device
        largest = engine.buckets[-1]
        self._model = model
        self._jobs = device.allocate(largest * JOB.itemsize)
        self._source = device.allocate(largest * engine.input.nbytes)
        self._answer = device.allocate(largest * engine.output.nbytes)
        self._plane_bytes = 4 * model.alpha_height * model.alpha_width
        self._alphas: Memory = device.allocate(largest * self._plane_bytes)
        self._flags: Memory = device.allocate(largest * FLAG_BYTES)
        self._ranges: Memory = device.allocate(largest * RANGE_BYTES)  # the activation's scratch
        self._bindings: dict[int, Binding] = {
            bucket: engine.bind(bucket, self._source.address, self._answer.address)
            for bucket in engine.buckets
        }
        self._graphs: dict[int, Graph] = {}

    def alpha(self, lane: int) -> int:
        """Address of the alpha of the batch's image number `lane`: (h, w) float32 in [0, 1]."""
        return self._alphas.address + lane * self._plane_bytes

    def flags(self, lane: int) -> int:
        """Address of that image's uint32 that is not 0 when the network answered no numbers."""
        return self._flags.address + lane * FLAG_BYTES

    def flagged(self) -> bool:
        """True when the network answered no numbers for an image of the last run. Waits for it."""
        device, stream = self._model.device, self._model.stream
        host = device.allocate_host(self._flags.nbytes)
        to_host(device, self._flags.address, host.array, stream, Copies())
        device.synchronize(stream)
        return bool(host.array.any())

    def enqueue(self, jobs: NDArray[np.void], stream: Stream) -> bool:
        """Queues all from the pictures to their alphas; True when it is the replay of a graph.

        Args:
            jobs: (n,) of dtype `kernels.image.JOB`, n up to the largest bucket.
            stream: where.

        Raises:
            EngineFailed: the engine refused.
            DeviceError: the device refused.
        """
        bucket = next(each for each in self._bindings if each >= len(jobs))
        padded = np.zeros(bucket, JOB)  # a job without an image leaves its lane empty
        padded[: len(jobs)] = jobs
        # As kernel parameters, so that the sizes of a batch cost no copy of their own.
        store_jobs.store_jobs(self._model.device, stream, padded, target=self._jobs.address)
        graph = self._graphs.get(bucket)
        if graph is not None:
            graph.launch(stream)
            return True
        self._queue(bucket, stream)
        return False

    def enqueue_tensors(
        self, tensors: NDArray[np.float32], stream: Stream
    ) -> tuple[HostMemory, HostMemory]:
        """Queues the network alone, for inputs that the caller has prepared on the host.

        Args:
            tensors: (n, ...) float32 as the input layout says, n up to the largest bucket.
            stream: where.

        Returns:
            The page-locked memory that is copied from, and what the answer is copied to, both to
            be kept until the stream is there.
        """
        model = self._model
        device, engine = model.device, model.engine
        bucket = next(each for each in self._bindings if each >= len(tensors))
        came = device.allocate_host(bucket * engine.input.nbytes)
        filled = len(tensors) * engine.input.nbytes
        came.array[:filled].view(DTYPES[engine.input.element])[:] = tensors.ravel()
        came.array[filled:] = 0
        to_device(device, came.array, self._source.address, stream, Copies())
        self._bindings[bucket].enqueue(stream)
        answer = device.allocate_host(len(tensors) * engine.output.nbytes)
        to_host(device, self._answer.address, answer.array, stream, Copies())
        return came, answer

    def record(self, bucket: int, stream: Stream) -> None:
        """Records the work of one batch size, where the engine allows; else it stays plain."""
        if not self._model.engine.can_be_captured:
            return
        try:
            self._graphs[bucket] = self._model.device.capture(
                stream, lambda: self._queue(bucket, stream)
            )
        except CaptureFailed as error:
            log.warning("batches of %d are launched plainly, not as a graph: %s", bucket, error)

    @property
    def recorded(self) -> Sequence[int]:
        """Batch sizes that are replayed."""
        return sorted(self._graphs)

    def _queue(self, bucket: int, stream: Stream) -> None:
        model = self._model
        wanted, output = model.manifest.input, model.manifest.output
        resize_normalise.resize_normalise(
            model.device,
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
            element=model.engine.input.element,
        )
        self._bindings[bucket].enqueue(stream)
        activate.activate(
            model.device,
            stream,
            raw=self._answer.address,
            batch=bucket,
            layout=output.layout,
            channels=model.channels,
            height=model.alpha_height,
            width=model.alpha_width,
            channel=output.channel or 0,
            activation=output.activation,
            element=model.engine.output.element,
            target=self._alphas.address,
            flags=self._flags.address,
            ranges=self._ranges.address,
        )
