"""Bytes between the host and callers' device memory, where only the host works on them.

Called by `server.kserve`, in workers: outputs of several pictures take this way, and tensors of an
engine that computes in another type or on another GPU. Pictures and other tensors do not: see
`server.device_sharing` and `models.prepared_tensor`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.device import Device
from kernels.transfer import Copies, to_device, to_host
from server.cuda_memory.ranges import CudaRange


def read_down(there: CudaRange, device: Device) -> NDArray[np.uint8]:
    """A copy of the range, (nbytes,) uint8, in page-locked memory of its own.

    Raises:
        SharedMemoryWrong: it does not open, or goes past its end.
        DeviceError: the device refused.
    """
    device.use()
    host, stream = device.allocate_host(there.nbytes), device.new_stream()
    opened = there.open(device)
    try:
        to_host(device, opened.address, host.array, stream, Copies())
        device.synchronize(stream)
    finally:
        opened.close()
    return host.array


def write_up(there: CudaRange, device: Device, data: bytes) -> None:
    """Puts `data` at the range's beginning; it must not be longer than that. Raises as
    `read_down`.
    """
    device.use()
    host, stream = device.allocate_host(len(data)), device.new_stream()
    host.array[:] = np.frombuffer(data, np.uint8)
    opened = there.open(device)
    try:
        to_device(device, host.array, opened.address, stream, Copies())
        device.synchronize(stream)
    finally:
        opened.close()
