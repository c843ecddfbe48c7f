"""A model on a GPU: pictures that lie in device memory become alphas that lie there too.

Made by `models.device_loading`, driven by `server.device_pipeline`. `models.model` is its sibling
for the CPU. What one batch needs is one `models.device_batch.DeviceBatch`.
"""

from __future__ import annotations

import numpy as np

from kernels.cuda import activate, resize_normalise, store_jobs
from kernels.device import Device, Stream
from kernels.image import PixelFormat, image_struct, job_struct
from kernels.letterbox import Placement
from kernels.transfer import Copies, to_device
from models import stream_state
from models.device_batch import DeviceBatch
from models.device_engine import DeviceEngine
from models.errors import EngineFailed
from models.graph_check import channel_problem
from models.manifest import Manifest
from models.stream_state import Planes, StateRoom, StreamState

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
        alpha = (self.alpha_width, self.alpha_height)
        self.planes = Planes(manifest.input, alpha, StateRoom(engine.states))
        self.batches = [
            DeviceBatch(manifest, engine, device, self.planes, self.channels)
            for _ in range(BATCHES_IN_FLIGHT)
        ]

    def cell_px(self, width: int, height: int) -> float:
        """Pixels of a picture along one pixel of the alpha."""
        return max(width / self.alpha_width, height / self.alpha_height)

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

    def new_state(self, smooth: float) -> StreamState:
        """What a stream will keep on the device from frame to frame.

        Args:
            smooth: weight of the alpha before where nothing moves, 0..0.95.

        Raises:
            DeviceFull: there is not enough memory.
        """
        return StreamState(self.device, self.planes, smooth)

    def warm(self) -> None:
        """Compiles the kernels, runs a blank image at every batch size, records the graphs.

        Raises:
            EngineFailed: a run failed.
            DeviceError: the device refused.
        """
        self.device.use()
        self.device.load(
            *resize_normalise.KERNELS,
            *activate.KERNELS,
            *store_jobs.KERNELS,
            *stream_state.KERNELS,
        )
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
            if batch.flagged(self.stream):
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
