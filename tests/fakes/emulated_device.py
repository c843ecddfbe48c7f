"""A device that is this CPU: keeps the contract of `kernels.device` and runs the real `.cu` files.

Stricter than a GPU where that finds mistakes: fresh memory holds NaNs, blocks have guard bytes that
are looked at after every launch, a thread must `use` the device before it launches, an argument
must have its parameter's width and kind. With `late=True` queued work runs only when someone waits
for it, as late as a GPU may: a missing `wait_for` or `synchronize` then shows as garbage.
Used by the tests of kernels, models and server; memory addresses are host addresses.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.catalogue import FOLDER
from kernels.device import Argument, CaptureFailed, DeviceError, Grid, Kernel, Memory
from tests.fakes.cuda_shim.module import EXACT, Order, checked_arguments, load_module
from tests.fakes.emulated_ipc import DRIVER, Opened
from tests.fakes.emulated_memory import ALIGNMENT, EmulatedMemory

Work = Callable[[], None]


class EmulatedHostMemory:
    """A block of "page-locked" memory; views of its array keep it alive."""

    def __init__(self, nbytes: int) -> None:
        room = np.full(nbytes + ALIGNMENT, 0xFF, np.uint8)
        skip = -room.ctypes.data % ALIGNMENT
        self.array: NDArray[np.uint8] = room[skip : skip + nbytes]


class EmulatedStream:
    """A queue of work."""

    _handles = iter(range(0x5000_0000, 0x6000_0000, 16))

    def __init__(self) -> None:
        self.handle = next(self._handles)
        self.recording: list[Work] | None = None
        self.pending: deque[Work] = deque()
        self.queued = 0
        self.done = 0


class EmulatedEvent:
    """A mark: how much was queued on which stream."""

    def __init__(self) -> None:
        self.mark: tuple[EmulatedStream, int] | None = None


class EmulatedGraph:
    """Recorded work."""

    def __init__(self, device: EmulatedDevice, work: tuple[Work, ...]) -> None:
        self._device = device
        self._work = work
        self.launches = 0

    def __len__(self) -> int:
        return len(self._work)

    def launch(self, stream: EmulatedStream) -> None:
        """Queues all of it."""
        self.launches += 1
        for step in self._work:
            self._device.run_or_record(stream, step)


class EmulatedDevice:
    """The contract of `kernels.device.Device`, on this CPU.

    Args:
        index: in its name.
        order: in which order threads and blocks run.
        flags: how kernels are built; see `tests.fakes.cuda_shim.module`.
        late: queued work runs only when it is waited for.
        folder: where the `.cu` files are.
    """

    def __init__(
        self,
        index: int = 0,
        *,
        order: Order = Order.FORWARD,
        flags: tuple[str, ...] = EXACT,
        late: bool = False,
        folder: Path = FOLDER,
    ) -> None:
        self.name = f"emulated:{index} g++"
        self.index = index
        self.allocations = 0
        self.launches = 0  # kernels that ran or were queued, replays included
        self.order = order
        self._flags = flags
        self._late = late
        self._folder = folder
        self._guarded = not any("sanitize" in flag for flag in flags)
        self._blocks: weakref.WeakSet[EmulatedMemory] = weakref.WeakSet()
        self._books = threading.Lock()
        self._running = threading.RLock()
        self._thread = threading.local()
        self.use()

    def use(self) -> None:
        """Makes this the calling thread's device."""
        self._thread.uses = True

    def allocate(self, nbytes: int) -> EmulatedMemory:
        """Device memory full of NaNs."""
        self._count_allocation(nbytes)
        block = EmulatedMemory(nbytes, self._guarded)
        with self._books:
            self._blocks.add(block)
        return block

    def allocate_host(self, nbytes: int) -> EmulatedHostMemory:
        """Host memory full of NaNs."""
        self._count_allocation(nbytes)
        return EmulatedHostMemory(nbytes)

    def new_stream(self) -> EmulatedStream:
        """A stream of its own."""
        return EmulatedStream()

    def new_event(self) -> EmulatedEvent:
        """An event that was not recorded yet."""
        return EmulatedEvent()

    def record(self, event: EmulatedEvent, stream: EmulatedStream) -> None:
        """Marks what is queued on `stream` so far."""
        self._refuse_in_capture("an event was recorded")
        event.mark = (stream, stream.queued)

    def wait_for(self, stream: EmulatedStream, event: EmulatedEvent) -> None:
        """What is queued on `stream` from now on waits for `event`."""
        self._refuse_in_capture("a stream waited for an event")
        if event.mark is not None:
            before, count = event.mark
            self.run_or_record(stream, lambda: self._run_until(before, count))

    def synchronize(self, waited: EmulatedEvent | EmulatedStream) -> None:
        """Runs what is queued before it."""
        self._refuse_in_capture("the host waited")
        if isinstance(waited, EmulatedStream):
            self._run_until(waited, waited.queued)
        elif waited.mark is not None:
            self._run_until(*waited.mark)

    def copy_in(self, source: int, target: int, nbytes: int, stream: EmulatedStream) -> None:
        """Host to device."""
        self._copy(source, target, nbytes, stream)

    def copy_out(self, source: int, target: int, nbytes: int, stream: EmulatedStream) -> None:
        """Device to host."""
        self._copy(source, target, nbytes, stream)

    def copy_within(self, source: int, target: int, nbytes: int, stream: EmulatedStream) -> None:
        """Device to device; both ends must lie in memory that is there when it runs."""

        def work() -> None:
            for address in (source, target):
                if not self._is_there(address, nbytes):
                    raise DeviceError(f"{nbytes} bytes at {address:#x} are no device memory")
            ctypes.memmove(target, source, nbytes)
            self._look_at_guards("a copy")

        self._refuse_in_capture("a copy was queued")
        self.run_or_record(stream, work)

    def open_handle(self, handle: bytes) -> Opened:
        """Another process's allocation; see `tests.fakes.emulated_ipc`."""
        self._refuse_in_capture("another process's memory was opened")
        return DRIVER.open(handle, self.index)

    def close_handle(self, memory: Memory) -> None:
        """Ends the use of what `open_handle` gave."""
        self._refuse_in_capture("another process's memory was closed")
        DRIVER.close(memory.address)

    def clear(self, address: int, nbytes: int, stream: EmulatedStream) -> None:
        """Sets device memory to zero."""

        def work() -> None:
            ctypes.memset(address, 0, nbytes)
            self._look_at_guards("clear")

        self.run_or_record(stream, work)

    def load(self, *kernels: Kernel) -> None:
        """Builds what is not built yet."""
        for kernel in kernels:
            load_module(kernel.file, self._folder, self._flags).parameters(kernel.entry)

    def launch(
        self,
        kernel: Kernel,
        grid: Grid,
        block: Grid,
        args: tuple[Argument, ...],
        stream: EmulatedStream,
    ) -> None:
        """Queues a kernel; its arguments are checked and copied now."""
        if not getattr(self._thread, "uses", False):
            raise DeviceError(
                f"thread {threading.current_thread().name!r} launches {kernel.entry} without"
                " having called use()"
            )
        module = load_module(kernel.file, self._folder, self._flags)
        values: Any = tuple(
            value if value.dtype.names else value[0]
            for value in checked_arguments(kernel.entry, module.parameters(kernel.entry), args)
        )

        def work() -> None:
            self.launches += 1
            module.launch(kernel.entry, grid, block, values, self.order)
            self._look_at_guards(f"{kernel.entry} in {kernel.file}.cu")

        self.run_or_record(stream, work)

    def capture(self, stream: EmulatedStream, work: Work) -> EmulatedGraph:
        """Records what `work` queues on `stream`; nothing of it runs now."""
        if stream.recording is not None:
            raise CaptureFailed("the stream is being captured already")
        stream.recording = recorded = []
        self._thread.capturing = True
        try:
            work()
        except CaptureFailed:
            raise
        except DeviceError as error:
            raise CaptureFailed(str(error)) from error
        finally:
            stream.recording = None
            self._thread.capturing = False
        return EmulatedGraph(self, tuple(recorded))

    def run_or_record(self, stream: EmulatedStream, work: Work) -> None:
        """Queues any function as device work, so that emulated engines take part in captures."""
        if stream.recording is not None:
            stream.recording.append(work)
            return
        with self._running:
            stream.pending.append(work)
            stream.queued += 1
        if not self._late:
            self._run_until(stream, stream.queued)

    def _run_until(self, stream: EmulatedStream, count: int) -> None:
        with self._running:
            while stream.done < count:
                stream.done += 1
                stream.pending.popleft()()

    def _copy(self, source: int, target: int, nbytes: int, stream: EmulatedStream) -> None:
        if stream.recording is not None:
            raise CaptureFailed("a copy between host and device cannot be part of a graph")

        def work() -> None:
            ctypes.memmove(target, source, nbytes)
            self._look_at_guards("a copy")

        self.run_or_record(stream, work)

    def _is_there(self, address: int, nbytes: int) -> bool:
        with self._books:
            own = list(self._blocks)
        return DRIVER.holds(address, nbytes) or any(
            each.address <= address and address + nbytes <= each.address + each.nbytes
            for each in own
        )

    def _count_allocation(self, nbytes: int) -> None:
        self._refuse_in_capture("memory was allocated")
        if nbytes < 1:
            raise DeviceError(f"{nbytes} bytes were asked for; a block has at least 1")
        with self._books:
            self.allocations += 1

    def _refuse_in_capture(self, what: str) -> None:
        if getattr(self._thread, "capturing", False):
            raise CaptureFailed(f"{what} while a graph was recorded")

    def _look_at_guards(self, who: str) -> None:
        with self._books:
            blocks = list(self._blocks)
        for block in blocks:
            where = block.overrun()
            if where:
                raise DeviceError(f"{who} wrote {where} of a block of {block.nbytes} bytes")
