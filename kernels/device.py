"""What array work asks of a device: memory, streams, events, launches, captured graphs.

Two implementations keep this contract: `kernels.cupy_device` on an NVIDIA GPU, and the tests' own,
which runs the same `.cu` files on the CPU. Launchers (`kernels.cuda`), models and the server know
this file only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Grid = tuple[int, int, int]
Argument = np.generic | NDArray[np.void]  # a scalar of the parameter's width, a struct as (1,)


class DeviceError(Exception):
    """The device or its driver refused; the message holds its words."""


class DeviceFull(DeviceError):
    """There is not enough memory, of the device's or of page-locked; the device still works."""


class DeviceLost(DeviceError):
    """Nothing works on the device any more in this process: an illegal address, a dead GPU."""


class HandleRefused(DeviceError):
    """Memory of another process could not be opened by its handle; the device still works."""


class CaptureFailed(DeviceError):
    """Work could not be recorded as a graph; the stream is usable again, nothing has run."""


class Memory(Protocol):
    """A block of device memory; freed with its last reference."""

    @property
    def address(self) -> int:
        """Device address, a multiple of 256."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""


class HostMemory(Protocol):
    """A block of page-locked host memory; freed with its last reference."""

    @property
    def array(self) -> NDArray[np.uint8]:
        """The block as (nbytes,) uint8, writable."""


class Stream(Protocol):
    """A queue of device work, done in order."""

    @property
    def handle(self) -> int:
        """The cudaStream_t as a number, for libraries that take one."""


class Event(Protocol):
    """A mark in a stream."""


class Graph(Protocol):
    """Recorded device work."""

    def launch(self, stream: Stream) -> None:
        """Queues all of it on `stream`, with the addresses it was recorded with."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A `extern "C" __global__` function of a file in `kernels/cuda`.

    Attributes:
        file: the file's name without ".cu".
        entry: the function's name.
    """

    file: str
    entry: str


@runtime_checkable
class Device(Protocol):
    """One GPU, or what stands for it. Safe to use from several threads; a stream is not."""

    @property
    def name(self) -> str:
        """As in the report: "cuda:0 NVIDIA H200"."""

    @property
    def index(self) -> int:
        """Which GPU, as CUDA counts in this process."""

    @property
    def allocations(self) -> int:
        """Blocks of device and host memory taken so far: it must not grow in the steady state."""

    def use(self) -> None:
        """Makes this the calling thread's device; every thread that launches calls it once."""

    def allocate(self, nbytes: int) -> Memory:
        """Device memory, contents undefined.

        Raises:
            DeviceFull: there is not enough.
        """

    def allocate_host(self, nbytes: int) -> HostMemory:
        """Page-locked host memory, contents undefined.

        Raises:
            DeviceFull: there is not enough.
        """

    def new_stream(self) -> Stream:
        """A stream that does not wait for the default one."""

    def new_event(self) -> Event:
        """An event without timing, not recorded yet."""

    def record(self, event: Event, stream: Stream) -> None:
        """Marks what is queued on `stream` so far."""

    def wait_for(self, stream: Stream, event: Event) -> None:
        """What is queued on `stream` from now on waits for `event`; the host does not."""

    def synchronize(self, waited: Event | Stream) -> None:
        """Blocks the calling thread, without the GIL, until it is done.

        Raises:
            DeviceLost: work before it failed, and so will everything after.
        """

    def copy_in(self, source: int, target: int, nbytes: int, stream: Stream) -> None:
        """Host to device. For `kernels.transfer` alone, which counts."""

    def copy_out(self, source: int, target: int, nbytes: int, stream: Stream) -> None:
        """Device to host. For `kernels.transfer` alone, which counts."""

    def copy_within(self, source: int, target: int, nbytes: int, stream: Stream) -> None:
        """Device to device. For `kernels.transfer` alone, which counts."""

    def open_handle(self, handle: bytes) -> Memory:
        """A whole allocation of another process, by its CUDA IPC handle, for this process's use
        until `close_handle`. Not to be opened again before that.

        Raises:
            HandleRefused: the driver does not open it, or it lies on another GPU.
        """

    def close_handle(self, memory: Memory) -> None:
        """Ends the use of what `open_handle` gave; nothing queued may still touch it.

        Raises:
            DeviceError: the driver refused.
        """

    def clear(self, address: int, nbytes: int, stream: Stream) -> None:
        """Sets device memory to zero."""

    def load(self, *kernels: Kernel) -> None:
        """Compiles now what would else be compiled at its first launch.

        Raises:
            DeviceError: the source does not compile; the compiler's log is in the message.
        """

    def launch(
        self, kernel: Kernel, grid: Grid, block: Grid, args: tuple[Argument, ...], stream: Stream
    ) -> None:
        """Queues a kernel.

        Args:
            kernel: which.
            grid: blocks along x, y, z.
            block: threads of a block along x, y, z.
            args: one per parameter; addresses as np.uintp, structs as arrays of shape (1,).
            stream: where.

        Raises:
            TypeError: an argument is a plain Python number, whose width would be a guess.
            DeviceError: the driver refused.
        """

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Records what `work` queues on `stream`; nothing of it runs now.

        Raises:
            CaptureFailed: something in it cannot be recorded.
        """
