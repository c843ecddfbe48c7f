"""All registered shared memory, of hosts and of GPUs: names are one set for both, as in Triton.

Made by `server.app`, used by `server.kserve.service` and `server.kserve.answers`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mattestream.kserve.v2 import control_pb2
from server.kserve.cuda_regions import CudaRegions
from server.kserve.errors import RegionKnown, WrongRequest
from server.kserve.shared_regions import SharedRegions, unknown
from server.kserve.tensors import CudaSpan, Span

MAX_NAME_CHARS = 250


@dataclass(frozen=True, slots=True)
class RegisteredMemory:
    """The regions of all callers."""

    system: SharedRegions
    cuda: CudaRegions

    def register_system(
        self, owner: str, peer: str, request: control_pb2.SystemSharedMemoryRegisterRequest
    ) -> None:
        """One more of the host. Raises as `SharedRegions.register`, and as `_check_new`."""
        self.system.check_caller(peer)
        self._check_new(owner, request.name)
        self.system.register(owner, request)

    async def register_cuda(
        self, owner: str, peer: str, request: control_pb2.CudaSharedMemoryRegisterRequest
    ) -> None:
        """One more of a GPU. Raises as `CudaRegions.register`, and as `_check_new`."""
        self.cuda.check_caller(peer)
        self._check_new(owner, request.name)
        opened = await self.cuda.open(owner, request)
        try:
            self._check_new(owner, request.name)  # again: others came while it was opened
        except RegionKnown:
            await asyncio.to_thread(opened.lease.close)
            raise
        self.cuda.keep(owner, opened)

    def span(self, owner: str, peer: str, name: str, offset: int, nbytes: int) -> Span | CudaSpan:
        """A range of one of the caller's regions.

        Raises:
            SharedMemoryRefused, SharedMemoryWrong: the caller may not, or the range makes no sense.
            RegionUnknown: there is no region of that name.
        """
        if self.cuda.has(owner, name):
            return self.cuda.span(owner, peer, name, offset, nbytes)
        if self.cuda.is_on and not self.system.has(owner, name):
            self.cuda.check_caller(peer)
            raise unknown(name)
        return self.system.span(owner, peer, name, offset, nbytes)

    async def close(self) -> None:
        """Lets all go."""
        self.system.close()
        await self.cuda.close()

    def _check_new(self, owner: str, name: str) -> None:
        """Nothing when a region may have that name.

        Raises:
            RegionKnown: the name is taken.
            WrongRequest: it makes no sense.
        """
        if not 1 <= len(name) <= MAX_NAME_CHARS:
            raise WrongRequest(
                f"the region's name has {len(name)} characters: give it 1 to {MAX_NAME_CHARS}"
            )
        if self.system.has(owner, name) or self.cuda.has(owner, name):
            raise RegionKnown(
                f"shared memory '{name}' is registered already: unregister it first, or choose "
                "another name"
            )
