"""An NVIDIA GPU through CuPy: the device that array work runs on in production.

Made by the server's start-up, one per GPU; everything else knows `kernels.device` only. All of it
lives in the GPU's primary context, so that TensorRT, ONNX Runtime and PyCUDA share its memory and
its streams. CuPy is imported when a device is asked for, not when this file is.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import cuda_ipc
from kernels.cuda.catalogue import FOLDER
from kernels.cuda.source import source_of
from kernels.cuda_ipc import OpenedMemory
from kernels.device import (
    Argument,
    CaptureFailed,
    DeviceError,
    Event,
    Grid,
    Kernel,
    Memory,
    Stream,
)
from kernels.gpus import devices, import_cupy, in_our_words

# With line numbers for compute-sanitizer, which cost nothing in a run.
OPTIONS = ("-std=c++17", "-lineinfo")  # CuPy adds -ftz=true and --device-as-default-execution-space

_thread = threading.local()  # .device: the index that the calling thread uses


class CupyMemory:
    """Device memory of a `cudaMalloc` of its own: freed at once, after the work that uses it."""

    def __init__(self, memory: Any, nbytes: int) -> None:
        self._memory = memory
        self.address: int = memory.ptr
        self.nbytes = nbytes


class CupyHostMemory:
    """Page-locked memory, for all contexts; views of `array` keep it alive."""

    def __init__(self, pointer: Any, nbytes: int) -> None:
        self.array: NDArray[np.uint8] = np.frombuffer(pointer, np.uint8, nbytes)


class CupyStream:
    """A CuPy stream, or a foreign one that CuPy adopted."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.handle: int = stream.ptr
        self.recording = False


class CupyEvent:
    """An event without timing; a thread that waits for it sleeps."""

    def __init__(self, event: Any) -> None:
        self.event = event
        self.handle: int = event.ptr


class CupyGraph:
    """An instantiated graph."""

    def __init__(self, cupy: Any, graph: Any) -> None:
        self._cupy = cupy
        self._graph = graph

    def launch(self, stream: Stream) -> None:
        """Queues all of it on `stream`.

        Raises:
            DeviceError: the driver refused.
        """
        with in_our_words(self._cupy, "a recorded graph was not launched"):
            self._graph.launch(_own(stream).stream)


class CupyDevice:
    """The contract of `kernels.device.Device` on one GPU.

    Args:
        index: which, as `nvidia-smi` counts unless CUDA_VISIBLE_DEVICES says otherwise.
        folder: where the `.cu` files are.

    Raises:
        DeviceError: CuPy is missing, or there is no such GPU.
    """

    def __init__(self, index: int = 0, *, folder: Path = FOLDER) -> None:
        self._cupy = import_cupy()
        self._runtime = self._cupy.cuda.runtime
        found = devices()
        if not 0 <= index < len(found):
            raise DeviceError(f"there is no GPU {index}: this machine has 0 to {len(found) - 1}")
        self.gpu = found[index]
        self.name = f"cuda:{index} {self.gpu.name}"
        self.index = index
        self.allocations = 0
        self._folder = folder
        self._books = threading.Lock()
        self._modules: dict[str, Any] = {}
        self._functions: dict[Kernel, Any] = {}
        self.use()

    def use(self) -> None:
        """Makes this the calling thread's device."""
        with in_our_words(self._cupy, f"{self.name} was not made the thread's device"):
            self._runtime.setDevice(self.index)
        _thread.device = self.index

    def allocate(self, nbytes: int) -> CupyMemory:
        """Device memory, contents undefined."""
        self._count_allocation(nbytes)
        with in_our_words(self._cupy, f"{nbytes} bytes of device memory"), self._current():
            return CupyMemory(self._cupy.cuda.Memory(nbytes), nbytes)

    def allocate_host(self, nbytes: int) -> CupyHostMemory:
        """Page-locked host memory, contents undefined."""
        self._count_allocation(nbytes)
        cuda = self._cupy.cuda
        with in_our_words(self._cupy, f"{nbytes} bytes of page-locked memory"), self._current():
            memory = cuda.PinnedMemory(nbytes, self._runtime.hostAllocPortable)
            return CupyHostMemory(cuda.PinnedMemoryPointer(memory, 0), nbytes)

    def new_stream(self) -> CupyStream:
        """A stream that does not wait for the default one."""
        with in_our_words(self._cupy, "no stream was made"), self._current():
            return CupyStream(self._cupy.cuda.Stream(non_blocking=True))

    def adopt(self, stream: object) -> CupyStream:
        """Another library's stream, which must have `__cuda_stream__` and belong to this GPU."""
        with in_our_words(self._cupy, "a stream was not adopted"), self._current():
            return CupyStream(self._cupy.cuda.Stream.from_external(stream))

    def new_event(self) -> CupyEvent:
        """An event that was not recorded yet."""
        with in_our_words(self._cupy, "no event was made"), self._current():
            return CupyEvent(self._cupy.cuda.Event(block=True, disable_timing=True))

    def record(self, event: Event, stream: Stream) -> None:
        """Marks what is queued on `stream` so far."""
        self._refuse_in_capture("an event was recorded")
        with in_our_words(self._cupy, "an event was not recorded"):
            self._runtime.eventRecord(_mark(event).handle, stream.handle)

    def wait_for(self, stream: Stream, event: Event) -> None:
        """What is queued on `stream` from now on waits for `event`."""
        self._refuse_in_capture("a stream waited for an event")
        with in_our_words(self._cupy, "a stream does not wait for an event"):
            self._runtime.streamWaitEvent(stream.handle, _mark(event).handle)

    def synchronize(self, waited: Event | Stream) -> None:
        """Blocks until it is done; CuPy lets go of the GIL meanwhile."""
        self._refuse_in_capture("the host waited")
        with in_our_words(self._cupy, f"work on {self.name} failed"):
            if isinstance(waited, CupyStream):
                self._runtime.streamSynchronize(waited.handle)
            else:
                self._runtime.eventSynchronize(_mark(waited).handle)

    def copy_in(self, source: int, target: int, nbytes: int, stream: Stream) -> None:
        """Host to device."""
        self._copy(source, target, nbytes, self._runtime.memcpyHostToDevice, stream)

    def copy_out(self, source: int, target: int, nbytes: int, stream: Stream) -> None:
        """Device to host."""
        self._copy(source, target, nbytes, self._runtime.memcpyDeviceToHost, stream)

    def copy_within(self, source: int, target: int, nbytes: int, stream: Stream) -> None:
        """Device to device."""
        self._copy(source, target, nbytes, self._runtime.memcpyDeviceToDevice, stream)

    def open_handle(self, handle: bytes) -> OpenedMemory:
        """A whole allocation of another process."""
        self._refuse_in_capture("another process's memory was opened")
        with self._current():
            return cuda_ipc.open_handle(self._cupy, handle, self.index)

    def close_handle(self, memory: Memory) -> None:
        """Ends the use of what `open_handle` gave."""
        self._refuse_in_capture("another process's memory was closed")
        with in_our_words(self._cupy, "another process's memory was not closed"), self._current():
            self._runtime.ipcCloseMemHandle(memory.address)

    def clear(self, address: int, nbytes: int, stream: Stream) -> None:
        """Sets device memory to zero."""
        with in_our_words(self._cupy, f"{nbytes} bytes were not cleared"):
            self._runtime.memsetAsync(address, 0, nbytes, stream.handle)

    def load(self, *kernels: Kernel) -> None:
        """Compiles for this GPU what is not compiled yet, or takes it from CuPy's disk cache."""
        for kernel in kernels:
            self._function(kernel)

    def launch(
        self,
        kernel: Kernel,
        grid: Grid,
        block: Grid,
        args: tuple[Argument, ...],
        stream: Stream,
    ) -> None:
        """Queues a kernel."""
        if getattr(_thread, "device", None) != self.index:
            raise DeviceError(
                f"thread {threading.current_thread().name!r} launches {kernel.entry} without"
                " having called use()"
            )
        if min(*grid, *block) < 1:  # CuPy would launch one block instead
            raise DeviceError(f"{kernel.entry}: grid {grid} and block {block} must be at least 1")
        for index, arg in enumerate(args):
            _check_argument(kernel.entry, index, arg)
        function = self._functions.get(kernel) or self._function(kernel)
        with in_our_words(self._cupy, f"{kernel.entry} was not launched"):
            function(grid, block, args, 0, _own(stream).stream)

    def capture(self, stream: Stream, work: Callable[[], None]) -> CupyGraph:
        """Records what `work` queues on `stream`; nothing of it runs now.

        Only the calling thread is watched for calls that cannot be recorded: others may allocate
        and wait meanwhile.
        """
        recorded = _own(stream)
        if recorded.recording:
            raise CaptureFailed("the stream is being captured already")
        with in_our_words(self._cupy, "capture did not begin", CaptureFailed):
            recorded.stream.begin_capture(self._runtime.streamCaptureModeThreadLocal)
        recorded.recording = _thread.capturing = True
        # A block that the collector frees now would end the capture.
        collects = gc.isenabled()
        gc.disable()
        try:
            work()
        except BaseException as error:
            self._abandon(recorded)
            if isinstance(error, DeviceError) and not isinstance(error, CaptureFailed):
                raise CaptureFailed(str(error)) from error
            raise
        finally:
            if collects:
                gc.enable()
            recorded.recording = _thread.capturing = False
        with in_our_words(self._cupy, "the graph was not made", CaptureFailed):
            return CupyGraph(self._cupy, recorded.stream.end_capture())

    def _abandon(self, stream: CupyStream) -> None:
        """Ends a capture whose graph nobody wants, so that the stream is usable again."""
        try:
            graph = self._runtime.streamEndCapture(stream.handle)
        except RuntimeError:  # it was invalidated already; ending it is what was asked for
            return
        if graph:
            self._runtime.graphDestroy(graph)

    def _copy(self, source: int, target: int, nbytes: int, kind: int, stream: Stream) -> None:
        if _own(stream).recording:
            raise CaptureFailed("a copy of pictures cannot be part of a graph")
        with in_our_words(self._cupy, f"{nbytes} bytes were not copied"):
            self._runtime.memcpyAsync(target, source, nbytes, kind, stream.handle)

    def _function(self, kernel: Kernel) -> Any:
        with self._books:
            found = self._functions.get(kernel)
            if found is not None:
                return found
            module = self._modules.get(kernel.file)
            if module is None:
                code = source_of(kernel.file, self._folder)
                module = self._cupy.RawModule(code=code, options=OPTIONS)
                self._modules[kernel.file] = module
            what = f"{kernel.entry} of {kernel.file}.cu was not compiled"
            with in_our_words(self._cupy, what), self._current():
                found = module.get_function(kernel.entry).kernel
            self._functions[kernel] = found
            return found

    def _current(self) -> Any:
        """With it this GPU is the thread's; after it the thread has its own back."""
        return self._cupy.cuda.Device(self.index)

    def _count_allocation(self, nbytes: int) -> None:
        self._refuse_in_capture("memory was allocated")
        if nbytes < 1:
            raise DeviceError(f"{nbytes} bytes were asked for; a block has at least 1")
        with self._books:
            self.allocations += 1

    def _refuse_in_capture(self, what: str) -> None:
        if getattr(_thread, "capturing", False):
            raise CaptureFailed(f"{what} while a graph was recorded")


def _own(stream: Stream) -> CupyStream:
    """`stream`, which `new_stream` or `adopt` made."""
    assert isinstance(stream, CupyStream), f"{stream!r} is no stream of this device"
    return stream


def _mark(event: Event) -> CupyEvent:
    """`event`, which `new_event` made."""
    assert isinstance(event, CupyEvent), f"{event!r} is no event of this device"
    return event


def _check_argument(entry: str, index: int, arg: Argument) -> None:
    """Refuses what CuPy would pass with a width of its own choice, or as something else."""
    if isinstance(arg, np.generic):
        return
    if isinstance(arg, np.ndarray) and arg.shape == (1,) and arg.dtype.names is not None:
        return
    raise TypeError(
        f"{entry}, argument {index} is a {type(arg).__name__}, whose width would be a guess:"
        " give np.int32, np.float32, np.uintp, ... or a struct of shape (1,)"
    )
