"""Memory of another process on the same GPU, opened by its CUDA IPC handle.

Called by `kernels.cupy_device`. CuPy opens the handle; how much memory lies behind it only the
driver knows, and CuPy has no name for the call that asks. The driver opens a handle for as long as
the process that made it holds the memory, and never in that process itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kernels.device import HandleRefused

HANDLE_BYTES = 64  # of a cudaIpcMemHandle_t
_WHY = (
    "a handle must be the 64 bytes of cudaIpcGetMemHandle for memory of cudaMalloc that another "
    "process than the server holds; the memory of stream-ordered pools and of expandable segments "
    "has none"
)

# Base address and size of the allocation that an address lies in.
AddressRange = Callable[[int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class OpenedMemory:
    """Another process's allocation in this process's address space."""

    address: int
    nbytes: int  # to its end, whatever its owner says


def open_handle(
    cupy: Any, handle: bytes, index: int, address_range: AddressRange | None = None
) -> OpenedMemory:
    """The allocation behind `handle`; GPU `index` is the calling thread's.

    Args:
        cupy: the package.
        handle: as it came.
        index: the GPU that it must lie on.
        address_range: asks the driver; None: the one that is loaded.

    Raises:
        HandleRefused: the driver does not open it, it lies on another GPU, or its size cannot be
            told.
    """
    if len(handle) != HANDLE_BYTES:
        raise HandleRefused(f"the handle has {len(handle)} bytes, a cudaIpcMemHandle_t has 64")
    runtime = cupy.cuda.runtime
    # Whatever the driver says of a caller's bytes, it says nothing of the device: always this
    # error, never `DeviceLost`.
    try:
        address = int(runtime.ipcOpenMemHandle(handle))
    except (RuntimeError, MemoryError) as error:
        raise HandleRefused(f"the handle does not open on GPU {index} ({error}): {_WHY}") from error
    try:
        where = int(runtime.pointerGetAttributes(address).device)
        if where != index:
            raise HandleRefused(
                f"the handle's memory lies on GPU {where}, not on GPU {index}: name that one"
            )
        base, size = (address_range or _address_range)(address)
        if not base <= address < base + size:
            raise HandleRefused(f"the driver gives {address:#x} no place in its allocation")
    except BaseException as error:
        with suppress(RuntimeError):
            runtime.ipcCloseMemHandle(address)
        if isinstance(error, HandleRefused) or not isinstance(error, RuntimeError | OSError):
            raise
        raise HandleRefused(
            f"the handle opens on GPU {index}, but how much memory it is cannot be told: {error}"
        ) from error
    return OpenedMemory(address, base + size - address)


def _address_range(address: int, library: str = "libcuda.so.1") -> tuple[int, int]:
    """Asks the CUDA driver of this process, whose current context is the runtime's."""
    driver = ctypes.CDLL(library)
    base, size = ctypes.c_uint64(), ctypes.c_size_t()
    status = driver.cuMemGetAddressRange_v2(
        ctypes.byref(base), ctypes.byref(size), ctypes.c_uint64(address)
    )
    if status:
        raise OSError(f"cuMemGetAddressRange answered {status}")
    return base.value, size.value
