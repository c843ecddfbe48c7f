"""The only functions that move bytes between host and device, and within the device; each counts
what it did.

Called by `server.device_pipeline`; the counts end in the report's `copies`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.device import Device, Stream


@dataclass(slots=True)
class Copies:
    """What was copied for one image."""

    host_to_device: int = 0
    host_to_device_bytes: int = 0
    device_to_host: int = 0
    device_to_host_bytes: int = 0
    device_to_device: int = 0
    device_to_device_bytes: int = 0


def to_device(
    device: Device, source: NDArray[np.uint8], address: int, stream: Stream, copies: Copies
) -> None:
    """Queues a copy of all of `source`, (n,) uint8 in page-locked memory, to `address`."""
    device.copy_in(source.ctypes.data, address, source.nbytes, stream)
    copies.host_to_device += 1
    copies.host_to_device_bytes += source.nbytes


def count_upload(nbytes: int, copies: Copies) -> None:
    """Counts what a library copied to the device by itself: nvImageCodec takes the file's bytes."""
    copies.host_to_device += 1
    copies.host_to_device_bytes += nbytes


def to_host(
    device: Device, address: int, target: NDArray[np.uint8], stream: Stream, copies: Copies
) -> None:
    """Queues a copy from `address` that fills `target`, (n,) uint8 in page-locked memory."""
    device.copy_out(address, target.ctypes.data, target.nbytes, stream)
    copies.device_to_host += 1
    copies.device_to_host_bytes += target.nbytes


def within_device(
    device: Device, source: int, target: int, *, nbytes: int, stream: Stream, copies: Copies
) -> None:
    """Queues a copy of `nbytes` from one address of the device to another."""
    device.copy_within(source, target, nbytes, stream)
    copies.device_to_device += 1
    copies.device_to_device_bytes += nbytes
