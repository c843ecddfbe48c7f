"""What a measured kernel works on, and how long it takes: buffers on a device, and a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.alpha_statistics import alpha_statistics
from kernels.device import CaptureFailed, Device, Memory, Stream
from kernels.image import PixelFormat, YCbCr, image_struct
from kernels.statistics import STATISTICS
from kernels.transfer import Copies, to_device, to_host

Size = tuple[int, int]  # columns, rows
Queue = Callable[[], None]

VIDEO = YCbCr.of(0.2126, 0.0722, full_range=False)  # BT.709, as video is
CHANNELS = {
    PixelFormat.RGB8: 3,
    PixelFormat.BGR8: 3,
    PixelFormat.RGBA8: 4,
    PixelFormat.GRAY8: 1,
}
_CHUNK = 1 << 20  # of random bytes that a buffer repeats: making 50 MB anew takes a second
_LARGER_THAN_L2 = 512 << 20  # bytes; the largest L2 is 126 MB (B200)
_SWEEP_WIDTH = 1 << 15
_ROUNDS = 15


class Bench:
    """Buffers that live as long as the bench, and the stream that work is queued on."""

    def __init__(self, device: Device) -> None:
        device.use()
        self.device = device
        self.stream: Stream = device.new_stream()
        self._held: list[Memory] = []
        self._random = np.random.default_rng(7)

    def empty(self, nbytes: int) -> int:
        """Address of `nbytes` of undefined contents."""
        memory = self.device.allocate(max(nbytes, 1))
        self._held.append(memory)
        return memory.address

    def filled(self, array: NDArray[Any]) -> int:
        """Address of a copy of `array`, C order."""
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        staged = self.device.allocate_host(flat.nbytes)
        staged.array[:] = flat
        address = self.empty(flat.nbytes)
        to_device(self.device, staged.array, address, self.stream, Copies())
        self.device.synchronize(self.stream)
        return address

    def bytes_of(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """What lies at `address`, (nbytes,) uint8; waits for the stream."""
        staged = self.device.allocate_host(nbytes)
        to_host(self.device, address, staged.array, self.stream, Copies())
        self.device.synchronize(self.stream)
        return staged.array.copy()

    def random(self, nbytes: int) -> int:
        """Address of `nbytes` that look like anything."""
        chunk = self._random.integers(0, 256, min(nbytes, _CHUNK), np.uint8)
        return self.filled(np.resize(chunk, nbytes))

    def alpha(self, size: Size) -> int:
        """Address of a subject's alpha, (height, width) uint8: a soft-edged disc on nothing, as
        networks answer. Noise would have an edge everywhere, which no picture has.
        """
        return self.filled(disc(size))

    def picture(
        self, size: Size, pixel_format: PixelFormat = PixelFormat.RGB8, padding: int = 0
    ) -> NDArray[np.void]:
        """A picture of noise as a kernel's argument, shape (1,), dtype `IMAGE`.

        Args:
            size: columns and rows.
            pixel_format: layout of the samples.
            padding: bytes between the rows of every plane.
        """
        width, height = size
        half = (width + 1) // 2
        across = {
            PixelFormat.NV12: (width, 2 * half),
            PixelFormat.I420: (width, half, half),
        }.get(pixel_format) or (CHANNELS[pixel_format] * width,)
        planes = []
        for index, samples in enumerate(across):
            rows = (height + 1) // 2 if index else height
            row = samples + padding
            # The last row has no padding behind it, as in a block that ends with the picture.
            planes.append((self.random(row * rows - padding), row))
        video = VIDEO if len(across) > 1 else None
        return image_struct(tuple(planes), width, height, pixel_format, ycbcr=video)


def disc(size: Size) -> NDArray[np.uint8]:
    """A disc over half of the picture's height with an edge of about 3 pixels, 0..255."""
    width, height = size
    rows = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    columns = np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2
    inside = height / 4 - np.hypot(rows, columns) + 0.5
    return np.asarray(np.rint(np.clip(inside / 3, 0, 1) * 255), np.uint8)


def recorded(device: Device, queue: Queue, stream: Stream) -> Queue | None:
    """A function that queues the same as one graph, so that what Python does between two launches
    does not count; None where it cannot be recorded. Runs it once before.
    """
    queue()
    device.synchronize(stream)
    try:
        graph = device.capture(stream, queue)
    except CaptureFailed:
        return None
    return lambda: graph.launch(stream)


class Clock(Protocol):
    """Measures device work."""

    def seconds(self, queue: Queue, stream: Stream) -> float:
        """How long what `queue` queues on `stream` takes, its inputs in no cache; a median."""


class HostClock:
    """The host's clock, for devices that are this CPU."""

    def __init__(self, device: Device, rounds: int = 3) -> None:
        self._device, self._rounds = device, rounds

    def seconds(self, queue: Queue, stream: Stream) -> float:
        """See `Clock`."""
        times = []
        for _ in range(self._rounds):
            started = time.perf_counter()
            queue()
            self._device.synchronize(stream)
            times.append(time.perf_counter() - started)
        return median(times)


class CudaClock:
    """CUDA events around the work, the L2 cache swept before each round.

    It is swept by reading: lines that were written would be carried back to memory within the time
    that is measured. The sweep also gives the host time to queue everything before the device comes
    to it, so that the gaps between launches are the device's own; `recorded` does away with them.
    """

    def __init__(self, device: Any, rounds: int = _ROUNDS) -> None:
        """Takes 512 MiB of the device.

        Args:
            device: a `kernels.cupy_device.CupyDevice`.
            rounds: that the median is taken of, after 2 that do not count.
        """
        import cupy

        self._cuda = cupy.cuda
        self._device, self._rounds = device, rounds
        self._sweep: Memory = device.allocate(_LARGER_THAN_L2)
        self._counted: Memory = device.allocate(STATISTICS.itemsize)
        stream = device.new_stream()
        device.clear(self._sweep.address, self._sweep.nbytes, stream)
        device.synchronize(stream)

    def seconds(self, queue: Queue, stream: Any) -> float:
        """See `Clock`."""
        times = []
        for turn in range(self._rounds + 2):
            begin, end = self._cuda.Event(), self._cuda.Event()
            alpha_statistics(
                self._device,
                stream,
                alpha=self._sweep.address,
                target=self._counted.address,
                width=_SWEEP_WIDTH,
                height=_LARGER_THAN_L2 // _SWEEP_WIDTH,
            )
            begin.record(stream.stream)
            queue()
            end.record(stream.stream)
            self._device.synchronize(stream)
            if turn > 1:
                times.append(float(self._cuda.get_elapsed_time(begin, end)) / 1e3)
        return median(times)

    def copy_queue(self, nbytes: int, stream: Any) -> Queue:
        """A function that queues a copy of `nbytes` from device memory to device memory."""
        source, target = self._device.allocate(nbytes), self._device.allocate(nbytes)
        runtime = self._cuda.runtime

        def queue() -> None:
            runtime.memcpyAsync(
                target.address,
                source.address,
                nbytes,
                runtime.memcpyDeviceToDevice,
                stream.handle,
            )

        return queue
