"""CUDA shared memory by registered names: allocations of callers, opened once by their IPC handles.

Called by `server.kserve.regions` and `server.kserve.service`. A handle is open from its
registration to its end; a region that is unregistered while a request uses it stays open until that
request is done. Opening and closing are calls to the driver, made off the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from kernels.device import Device
from mattestream.kserve.v2 import control_pb2
from server.cuda_memory.door import CudaMemory, check_handle
from server.cuda_memory.leases import Lease
from server.cuda_memory.ranges import CudaRange
from server.kserve.errors import WrongRequest
from server.kserve.shared_regions import unknown
from server.kserve.tensors import CudaSpan
from server.model_host import ModelHost
from server.shared_memory.policy import SharedMemoryWrong

MOST_REGIONS = 64  # of one caller: each keeps its owner's memory from being freed


@dataclass(frozen=True, slots=True)
class Registered:
    """An allocation, as far as its caller means it, under the name that he gave it."""

    name: str
    device: Device
    handle: bytes
    nbytes: int
    lease: Lease


class CudaRegions:
    """The registered regions of all callers; lives on the event loop.

    A caller is the owner of an API key; without keys all who may connect are one.

    Args:
        cuda_memory: the policy, and what opens handles.
        host: knows the GPUs that models run on.
    """

    def __init__(self, cuda_memory: CudaMemory, host: ModelHost) -> None:
        self._cuda_memory = cuda_memory
        self._host = host
        self._of: dict[str, dict[str, Registered]] = {}

    @property
    def is_on(self) -> bool:
        """True when the operator allows it and there is a GPU."""
        return self._cuda_memory.is_on and self._host.has_gpu

    def has(self, owner: str, name: str) -> bool:
        """True when the caller has a region of that name."""
        return name in self._of.get(owner, {})

    def check_caller(self, peer: str) -> None:
        """See `CudaMemory.check_caller`."""
        self._cuda_memory.check_caller(peer)

    async def open(
        self, owner: str, request: control_pb2.CudaSharedMemoryRegisterRequest
    ) -> Registered:
        """The allocation, open; `keep` must follow, or `Registered.lease.close`.

        Raises:
            SharedMemoryWrong: the handle does not open, or its memory is smaller than it says.
            NotOnThatGpu: no model runs on that GPU.
            WrongRequest: there are too many.
        """
        check_handle(request.raw_handle)
        if not request.byte_size:
            raise WrongRequest("byte_size is 0: set it to the region's length")
        if len(self._of.get(owner, {})) >= MOST_REGIONS:
            raise WrongRequest(
                f"{MOST_REGIONS} CUDA regions are registered, which is all there may be: "
                "unregister those that are not used, or use ranges of one"
            )
        device = self._host.device(request.device_id)
        lease = await asyncio.to_thread(self._cuda_memory.leases.take, device, request.raw_handle)
        if request.byte_size > lease.memory.nbytes:
            await asyncio.to_thread(lease.close)
            raise SharedMemoryWrong(
                f"region '{request.name}' is said to have {request.byte_size} bytes, its "
                f"allocation has {lease.memory.nbytes}: correct byte_size"
            )
        return Registered(request.name, device, request.raw_handle, request.byte_size, lease)

    def keep(self, owner: str, registered: Registered) -> None:
        """Puts an open allocation under its name, which is not taken."""
        self._of.setdefault(owner, {})[registered.name] = registered

    async def unregister(self, owner: str, peer: str, name: str) -> None:
        """Forgets one region, or all of the caller's when `name` is empty; one that is not there
        is forgotten already. Whoever has none may say so from anywhere: perf_analyzer does before
        it begins.
        """
        mine = self._of.get(owner)
        if mine is None:
            return
        self._cuda_memory.check_caller(peer)
        gone = [mine.pop(each) for each in ([name] if name else list(mine)) if each in mine]
        if not mine:
            self._of.pop(owner, None)
        await asyncio.to_thread(_close, gone)

    def status(self, owner: str, peer: str, name: str) -> Iterator[Registered]:
        """One region, or all of the caller's when `name` is empty.

        Raises:
            RegionUnknown: there is none of that name.
        """
        mine = self._of.get(owner, {})
        if name and name not in mine:
            raise unknown(name)
        if mine:
            self._cuda_memory.check_caller(peer)
        return iter([mine[name]] if name else list(mine.values()))

    def span(self, owner: str, peer: str, name: str, offset: int, nbytes: int) -> CudaSpan:
        """A range of one of the caller's regions, which `has` knows.

        Raises:
            SharedMemoryRefused: the caller may not use CUDA shared memory.
            SharedMemoryWrong: the range goes past its end.
        """
        self._cuda_memory.check_caller(peer)
        found = self._of[owner][name]
        if offset + nbytes > found.nbytes:
            raise SharedMemoryWrong(
                f"the range {offset} to {offset + nbytes} is outside of region '{name}', which has "
                f"{found.nbytes} bytes: correct shared_memory_offset and shared_memory_byte_size"
            )
        take = partial(_take_again, self._cuda_memory, found.handle)
        there = CudaRange(
            found.device.index, found.handle, offset, nbytes, take, f"region '{name}'"
        )
        return CudaSpan(there, found.device, name)

    async def close(self) -> None:
        """Lets all go."""
        gone = [each for mine in self._of.values() for each in mine.values()]
        self._of.clear()
        await asyncio.to_thread(_close, gone)


def _take_again(cuda_memory: CudaMemory, handle: bytes, device: Device) -> Lease:
    return cuda_memory.leases.take(device, handle)


def _close(gone: list[Registered]) -> None:
    for each in gone:
        each.lease.close()
