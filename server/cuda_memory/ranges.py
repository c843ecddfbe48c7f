"""Ranges of callers' device memory: as they were named, and open, with every byte of them checked.

Made by `server.cuda_memory.door` and `server.kserve.cuda_regions` on the event loop, opened by
`server.remover` in a worker and after admission; what they open is closed before the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernels.device import Device
from server.codecs.header import Header
from server.cuda_memory.leases import Lease
from server.job import RawSource
from server.shared_memory.policy import SharedMemoryWrong

TakeLease = Callable[[Device], Lease]


@dataclass(frozen=True, slots=True)
class CudaRange:
    """A range that a request named, not opened yet.

    Attributes:
        gpu: which it lies on.
        handle: 64 bytes, as they came.
        offset: from the allocation's base.
        take: gives a lease of the allocation.
        name: for the sentences.
    """

    gpu: int
    handle: bytes
    offset: int
    nbytes: int
    take: TakeLease
    name: str = "CUDA memory"

    def open(self, device: Device) -> OpenRange:
        """The range, checked against the allocation's true size.

        Raises:
            SharedMemoryWrong: the handle does not open, or the range goes past its end.
        """
        lease = self.take(device)
        size = lease.memory.nbytes
        if self.offset + self.nbytes > size:
            lease.close()
            raise SharedMemoryWrong(
                f"the range {self.offset} to {self.offset + self.nbytes} is outside of "
                f"{self.name}, whose allocation has {size} bytes: correct the offset and the size"
            )
        return OpenRange(lease, lease.memory.address + self.offset, self.nbytes)


@dataclass(frozen=True, slots=True)
class OpenRange:
    """A range of device memory that may be copied from or to until it is closed."""

    lease: Lease
    address: int
    nbytes: int

    def close(self) -> None:
        """Gives it back. Nothing queued may still touch it; a call to the driver."""
        self.lease.close()


@dataclass(frozen=True, slots=True)
class CudaSource:
    """A raw picture in a caller's device memory, not opened yet."""

    range: CudaRange
    layout: RawSource  # without its bytes

    @property
    def nbytes(self) -> int:
        """Of its pixels."""
        return self.range.nbytes

    @property
    def kind(self) -> str:
        """For the log: "cuda rgb8"."""
        return f"cuda {self.layout.format}"

    def header(self) -> Header:
        """Its size in pixels."""
        return Header("raw", self.layout.width, self.layout.height, 1)


@dataclass(frozen=True, slots=True)
class DeviceSource:
    """A raw picture in device memory that is open: what a GPU's pipeline takes for a source."""

    there: OpenRange
    layout: RawSource  # without its bytes


@dataclass(frozen=True, slots=True)
class CudaTarget:
    """Where a result's pixels go, not opened yet."""

    range: CudaRange
