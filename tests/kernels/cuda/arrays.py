"""Arrays to and from a device, for tests; everything goes through `kernels.transfer`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels.device import Device, Memory
from kernels.transfer import Copies, to_device, to_host


def empty(device: Device, nbytes: int) -> Memory:
    """Device memory with undefined contents; keep the result, its last reference frees it."""
    return device.allocate(nbytes)


def put(device: Device, array: NDArray[Any]) -> Memory:
    """A copy of `array`, C order, in device memory of exactly its size."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    staged = device.allocate_host(flat.nbytes)
    staged.array[:] = flat
    memory = device.allocate(flat.nbytes)
    stream = device.new_stream()
    to_device(device, staged.array, memory.address, stream, Copies())
    device.synchronize(stream)
    return memory


def get(device: Device, memory: Memory, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """What lies at the start of `memory`. Synchronize the stream that writes it before."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    staged = device.allocate_host(nbytes)
    stream = device.new_stream()
    to_host(device, memory.address, staged.array, stream, Copies())
    device.synchronize(stream)
    return staged.array.view(dtype).reshape(shape).copy()
