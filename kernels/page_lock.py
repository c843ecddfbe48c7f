"""Page-locks memory that a caller shares with us, so that the GPU copies out of it by itself.

A client on the same machine puts frames into a POSIX shared memory block; who maps the block and
locks its pages once gets frames from the client's buffer to the device with no copy on the host.
The server does not: a client that cuts its block short would end it, so it reads into page-locked
memory of its own (docs/decisions/0016). `loadtest.gpu_check.sharing` measures what that costs
beside this.

PyCUDA does the registering where it is installed, CuPy's runtime otherwise: the driver's call is
the same and so is the result. What this file adds is the owner. Pages must be unlocked before they
are unmapped, exactly once, and never while somebody still uses them; `PageLocked` sees to that.
"""

from __future__ import annotations

import importlib
import threading
import weakref
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.device import DeviceError

# cudaHostRegisterPortable = CU_MEMHOSTREGISTER_PORTABLE: locked for every GPU of this process. CuPy
# has no name for it (hostAllocPortable belongs to another call).
_PORTABLE = 1


class PageLockRefused(DeviceError):
    """The memory was not page-locked; copies out of it would go through the driver's own buffer."""


class Registrar(Protocol):
    """The library that tells the driver."""

    @property
    def name(self) -> str:
        """Library and version, for the log: "CuPy 14.2.0"."""

    def register(self, memory: NDArray[np.uint8]) -> Callable[[], None]:
        """Locks the pages of `memory`; what comes back unlocks them and is called once.

        Raises:
            Exception: the library's own, when the driver refuses.
        """


class CupyRegistrar:
    """Through CuPy's `runtime.hostRegister`; the runtime works in the primary context by itself.

    Args:
        cupy: the package.
        device_index: the GPU whose context does it.
    """

    def __init__(self, cupy: Any, device_index: int) -> None:
        self.name = f"CuPy {cupy.__version__}"
        self._runtime = cupy.cuda.runtime
        self._device_index = device_index

    def register(self, memory: NDArray[np.uint8]) -> Callable[[], None]:
        """Locks; see `Registrar`."""
        address = memory.ctypes.data
        self._on_device(lambda: self._runtime.hostRegister(address, memory.nbytes, _PORTABLE))
        return lambda: self._on_device(lambda: self._runtime.hostUnregister(address))

    def _on_device(self, call: Callable[[], object]) -> None:
        """Runs `call` with our device current, and leaves the thread's own device as it was."""
        before = self._runtime.getDevice()
        self._runtime.setDevice(self._device_index)
        try:
            call()
        finally:
            self._runtime.setDevice(before)


class PycudaRegistrar:
    """Through PyCUDA's `register_host_memory`, in the primary context that CuPy and TensorRT use.

    PyCUDA's contexts are a stack per thread, so each call pushes ours and pops it again; the
    thread's own current context comes back with the pop. `make_context` is never called: a second
    context on the device would see none of CuPy's memory.

    Args:
        driver: the module `pycuda.driver`.
        version: of the distribution.
        device_index: the GPU whose primary context is retained.
    """

    def __init__(self, driver: Any, version: str, device_index: int) -> None:
        self.name = f"PyCUDA {version}"
        self._driver = driver
        driver.init()
        self._context = driver.Device(device_index).retain_primary_context()

    def register(self, memory: NDArray[np.uint8]) -> Callable[[], None]:
        """Locks; see `Registrar`."""
        held: list[Any] = []

        def lock() -> None:
            # An array over the same memory; its base, a RegisteredHostMemory, owns the lock.
            held.append(self._driver.register_host_memory(memory, _PORTABLE))

        def unlock() -> None:
            # By name and not by dropping it: a destructor that fails prints a warning, no more.
            held.pop().base.unregister()

        self._in_context(lock)
        return lambda: self._in_context(unlock)

    def _in_context(self, call: Callable[[], None]) -> None:
        self._context.push()
        try:
            call()
        finally:
            self._context.pop()


def open_registrar(
    device_index: int = 0, load: Callable[[str], ModuleType] = importlib.import_module
) -> Registrar:
    """PyCUDA where it can be used, else CuPy.

    Args:
        device_index: number of the GPU, as CUDA counts.
        load: imports a module by name.

    Raises:
        PageLockRefused: neither is installed, or there is no driver; the sentence has both reasons.
    """
    reasons = []
    try:
        driver = load("pycuda.driver")
        return PycudaRegistrar(driver, load("pycuda").VERSION_TEXT, device_index)
    except Exception as error:  # ImportError without libcuda, LogicError without a device
        reasons.append(f"PyCUDA: {error}")
    try:
        cupy = load("cupy")
        cupy.cuda.runtime.getDeviceCount()
        return CupyRegistrar(cupy, device_index)
    except Exception as error:  # ImportError, or CUDARuntimeError without a driver
        reasons.append(f"CuPy: {error}")
    raise PageLockRefused(
        f"nothing here can page-lock memory ({'; '.join(reasons)}): "
        "it needs an NVIDIA driver and pip install 'mattestream[gpu]'"
    )


class PageLocked:
    """Memory whose pages are locked until `close`, or until the last reference to this goes.

    It holds the memory, so that nobody can unmap it first: `SharedMemory.close` raises BufferError
    while this lives. The device must be done with the memory before it is closed.
    """

    def __init__(self, array: NDArray[np.uint8], unregister: Callable[[], None]) -> None:
        self._array: NDArray[np.uint8] | None = array
        # The finalizer holds the array, too, and drops it after the call: unlocked, then unmapped.
        # It also runs at exit, before the driver is torn down.
        self._finalizer = weakref.finalize(self, _unlock, unregister, array)

    @property
    def array(self) -> NDArray[np.uint8]:
        """The memory, (nbytes,) uint8.

        Raises:
            PageLockRefused: it has been unlocked.
        """
        if self._array is None:
            raise PageLockRefused("the memory is not page-locked any more: lock it again")
        return self._array

    @property
    def closed(self) -> bool:
        """True once the pages are unlocked."""
        return self._array is None

    def close(self) -> None:
        """Unlocks the pages and lets the memory go; a second call does nothing.

        Raises:
            PageLockRefused: the driver refused; the memory is let go all the same.
        """
        self._array = None
        try:
            self._finalizer()
        except Exception as error:
            raise PageLockRefused(f"the driver did not unlock the memory: {error}") from error

    def __enter__(self) -> PageLocked:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _unlock(unregister: Callable[[], None], array: NDArray[np.uint8]) -> None:
    """Unlocks; `array` is only held, so that its memory is there until this has returned."""
    unregister()


class PageLocks:
    """The blocks that are locked in this process. Safe to use from several threads.

    The driver refuses to lock a page twice. Streams of one client often name the same block, so the
    same memory gives the same owner here, and overlapping but different memory gives a sentence.

    Args:
        registrar: from `open_registrar`.
    """

    def __init__(self, registrar: Registrar) -> None:
        self.registrar = registrar
        self._lock = threading.Lock()
        self._owners: weakref.WeakValueDictionary[tuple[int, int], PageLocked] = (
            weakref.WeakValueDictionary()
        )

    def lock(self, memory: NDArray[np.uint8]) -> PageLocked:
        """The owner of the locked pages of `memory`, which is whole: a mapping from its first byte.

        Args:
            memory: (nbytes,) uint8, contiguous; of a shared memory block
                `np.frombuffer(block.buf, np.uint8)`.

        Raises:
            PageLockRefused: the driver refused, or part of it is locked already.
            ValueError: it is empty, or not of that shape and kind.
        """
        if memory.dtype != np.uint8 or memory.ndim != 1 or not memory.flags.c_contiguous:
            raise ValueError(
                f"the memory is {memory.dtype} of shape {memory.shape}: give contiguous bytes, "
                "(n,) uint8"
            )
        if not memory.nbytes:
            raise ValueError("the memory is empty: give 1 byte or more")
        start, end = memory.ctypes.data, memory.ctypes.data + memory.nbytes
        with self._lock:
            for (other_start, other_end), owner in self._owners.items():
                if owner.closed or start >= other_end or end <= other_start:
                    continue
                if (start, end) == (other_start, other_end):
                    return owner
                raise PageLockRefused(
                    f"{end - start} bytes at {start:#x} overlap {other_end - other_start} bytes at "
                    f"{other_start:#x} that are page-locked already: lock whole blocks, each once"
                )
            owner = PageLocked(memory, self._register(memory))
            self._owners[start, end] = owner
            return owner

    def _register(self, memory: NDArray[np.uint8]) -> Callable[[], None]:
        try:
            return self.registrar.register(memory)
        except Exception as error:
            raise PageLockRefused(
                f"{memory.nbytes} bytes could not be page-locked by {self.registrar.name} "
                f"({error}): use fewer or smaller blocks; without the lock frames are copied once "
                "more on the host"
            ) from error
