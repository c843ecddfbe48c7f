"""As much of CuPy as `kernels.cupy_device` uses, on this CPU, so that its own lines can run here.

Constants and exceptions are the installed CuPy's; every runtime function takes as many arguments as
the real one says it does. Memory, streams and kernels are those of `tests.fakes.emulated_device`.
What it cannot show is what the driver does with the calls.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cupy
import numpy as np

from kernels.device import DeviceError, Grid, HandleRefused, Kernel
from tests.fakes.emulated_device import EmulatedDevice, EmulatedGraph, EmulatedStream
from tests.fakes.emulated_ipc import DRIVER, HANDLE_BYTES

REAL = cupy.cuda.runtime
INVALIDATED, UNSUPPORTED, OUT_OF_MEMORY = 901, 900, 2  # cudaErrorStreamCapture..., cudaError...
INVALID_HANDLE = 400


def allowed_counts(name: str) -> range:
    """How many arguments CuPy's runtime function `name` takes, read from its signature."""
    signature = re.match(rf"{name}\((.*?)\)", getattr(REAL, name).__doc__)
    assert signature is not None, name
    parameters = [one for one in signature[1].split(",") if one.strip()]
    needed = sum("=" not in one for one in parameters)
    return range(needed, len(parameters) + 1)


class EmulatedCupy:
    """The module `cupy`.

    Attributes:
        calls: names of the runtime functions that were called, in order.
        memory_lies_on: the GPU of any address that is asked for.
        fails: what the next call of a function raises, by its name.
    """

    def __init__(self, folder: Path, gpus: int = 1) -> None:
        self.device = EmulatedDevice(folder=folder)
        self.calls: list[str] = []
        self.fails: dict[str, BaseException] = {}
        self.current = 0
        self.memory_lies_on = 0
        self._gpus = gpus
        self._streams: dict[int, EmulatedStream] = {}
        self._events: dict[int, Any] = {}
        self._graphs: dict[int, EmulatedGraph] = {}
        self._folder = folder
        self.captured: EmulatedStream | None = None
        self.invalidated = False
        self._capturing_thread = 0
        functions = {
            name.removeprefix("_rt_"): self._counted(name.removeprefix("_rt_"), getattr(self, name))
            for name in dir(self)
            if name.startswith("_rt_")
        }
        constants = {
            name: getattr(REAL, name)
            for name in (
                "memcpyHostToDevice",
                "memcpyDeviceToHost",
                "memcpyDeviceToDevice",
                "hostAllocPortable",
                "streamCaptureModeThreadLocal",
            )
        }
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(**functions, **constants),
            compiler=cupy.cuda.compiler,
            Memory=self._memory,
            PinnedMemory=lambda nbytes, _flags: np.zeros(nbytes, np.uint8),
            PinnedMemoryPointer=lambda memory, offset: memory[offset:],
            Stream=self._stream_class(),
            Event=self._event,
            Device=self._use_device,
        )

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> Any:  # noqa: N802
        """A lazy module: like CuPy's it compiles when a function's `kernel` is asked for."""
        assert options == ("-std=c++17", "-lineinfo")
        file = re.findall(r'#line 1 "(\w+)\.cu"', code)[0]
        owner = self

        class Lazy:
            def __init__(self, entry: str) -> None:
                self.entry = entry

            @property
            def kernel(self) -> Callable[..., None]:
                kernel = Kernel(file, self.entry)
                try:
                    owner.device.load(kernel)
                except DeviceError as error:
                    if "no kernel" in str(error):
                        raise cupy.cuda.driver.CUDADriverError(500) from error
                    raise cupy.cuda.compiler.CompileException(
                        str(error), code, file, options
                    ) from error

                def call(grid: Grid, block: Grid, args: Any, shared_mem: int, stream: Any) -> None:
                    assert shared_mem == 0
                    owner.device.use()
                    queue = owner._streams[stream.ptr]
                    owner.device.launch(kernel, grid, block, args, queue)

                return call

        return SimpleNamespace(get_function=Lazy)

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        allowed = allowed_counts(name)

        def call(*args: Any) -> Any:
            assert len(args) in allowed, f"{name} takes {allowed} arguments"
            self.calls.append(name)
            if name in self.fails:
                raise self.fails.pop(name)
            return function(*args)

        return call

    def _refuse_in_capture(self) -> None:
        if self.captured is not None and self._capturing_thread == threading.get_ident():
            self.invalidated = True
            raise REAL.CUDARuntimeError(UNSUPPORTED)

    def _memory(self, nbytes: int) -> Any:
        self._refuse_in_capture()
        if nbytes > 1 << 40:
            raise REAL.CUDARuntimeError(OUT_OF_MEMORY)
        block = self.device.allocate(nbytes)
        return SimpleNamespace(ptr=block.address, block=block)

    def _use_device(self, index: int) -> Any:
        owner, before = self, self.current

        class Device:
            def __enter__(self) -> None:
                owner.current = index

            def __exit__(self, *error: object) -> None:
                owner.current = before

        return Device()

    def _stream_class(self) -> Any:
        owner = self

        class Stream:
            def __init__(self, *, non_blocking: bool) -> None:
                assert non_blocking
                made = owner.device.new_stream()
                owner._streams[made.handle] = made
                self.ptr = made.handle

            @classmethod
            def from_external(cls, foreign: Any) -> Stream:
                stream = cls(non_blocking=True)
                version, handle = foreign.__cuda_stream__()
                assert version == 0
                owner._streams[handle] = owner._streams.pop(stream.ptr)
                stream.ptr = handle
                return stream

            def begin_capture(self, mode: int) -> None:
                assert mode == REAL.streamCaptureModeThreadLocal
                owner._refuse_in_capture()
                owner.captured = owner._streams[self.ptr]
                owner.captured.recording = []
                owner._capturing_thread = threading.get_ident()

            def end_capture(self) -> Any:
                graph = owner._graphs.pop(owner._rt_streamEndCapture(self.ptr))
                return SimpleNamespace(launch=lambda on: graph.launch(owner._streams[on.ptr]))

        return Stream

    def _event(self, *, block: bool, disable_timing: bool) -> Any:
        assert block
        assert disable_timing
        event = self.device.new_event()
        self._events[id(event)] = event
        return SimpleNamespace(ptr=id(event))

    def _rt_getDeviceCount(self) -> int:  # noqa: N802
        return self._gpus

    def _rt_getDeviceProperties(self, index: int) -> dict[str, Any]:  # noqa: N802
        return {"name": b"Emulated", "major": 9, "minor": 0, "totalGlobalMem": 1 << 30}

    def _rt_setDevice(self, index: int) -> None:  # noqa: N802
        self.current = index

    def _rt_memcpyAsync(self, target: int, source: int, nbytes: int, kind: int, on: int) -> None:  # noqa: N802
        if kind == REAL.memcpyDeviceToDevice:
            self.device.copy_within(source, target, nbytes, self._streams[on])
            return
        assert kind in (REAL.memcpyHostToDevice, REAL.memcpyDeviceToHost)
        self.device.copy_in(source, target, nbytes, self._streams[on])

    def _rt_ipcOpenMemHandle(self, handle: bytes) -> int:  # noqa: N802
        assert len(handle) == HANDLE_BYTES  # CuPy reads so many, whatever it was given
        try:
            return DRIVER.open(handle, self.current).address
        except HandleRefused as error:
            raise REAL.CUDARuntimeError(INVALID_HANDLE) from error

    def _rt_ipcCloseMemHandle(self, address: int) -> None:  # noqa: N802
        DRIVER.close(address)

    def _rt_pointerGetAttributes(self, address: int) -> Any:  # noqa: N802
        return SimpleNamespace(device=self.memory_lies_on)

    def _rt_memsetAsync(self, address: int, value: int, nbytes: int, on: int) -> None:  # noqa: N802
        assert value == 0
        self.device.clear(address, nbytes, self._streams[on])

    def _rt_eventRecord(self, event: int, on: int) -> None:  # noqa: N802
        self.device.record(self._events[event], self._streams[on])

    def _rt_streamWaitEvent(self, on: int, event: int) -> None:  # noqa: N802
        self.device.wait_for(self._streams[on], self._events[event])

    def _rt_streamSynchronize(self, on: int) -> None:  # noqa: N802
        self._refuse_in_capture()
        self.device.synchronize(self._streams[on])

    def _rt_eventSynchronize(self, event: int) -> None:  # noqa: N802
        self.device.synchronize(self._events[event])

    def _rt_streamEndCapture(self, on: int) -> int:  # noqa: N802
        stream = self._streams[on]
        assert stream is self.captured, "the stream is not being captured"
        recorded, stream.recording, self.captured = stream.recording, None, None
        if self.invalidated:
            self.invalidated = False
            raise REAL.CUDARuntimeError(INVALIDATED)
        graph = EmulatedGraph(self.device, tuple(recorded or ()))
        self._graphs[id(graph)] = graph
        return id(graph)

    def _rt_graphDestroy(self, graph: int) -> None:  # noqa: N802
        del self._graphs[graph]

    @property
    def graphs_left(self) -> int:
        """Graphs that nobody destroyed or took."""
        return len(self._graphs)
