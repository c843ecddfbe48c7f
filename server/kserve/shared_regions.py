"""Shared memory by registered names: what a caller registers, its requests then use, and nobody
else's.

Called by `server.kserve.regions` and `server.kserve.service`. Whether a name may be opened at all
is the policy's (`server.shared_memory.policy`); bytes are copied by `preadv` and `pwrite`, never
mapped. A region that is unregistered while a request uses it stays open until that request is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mattestream.kserve.v2 import control_pb2
from server.kserve.errors import RegionUnknown, WrongRequest
from server.kserve.tensors import Span
from server.shared_memory.door import SharedMemory
from server.shared_memory.policy import SharedMemoryWrong
from server.shared_memory.region import Region

MOST_REGIONS = 128  # of one caller: each holds a descriptor
MOST_CALLERS = 64  # with regions


@dataclass(frozen=True, slots=True)
class Registered:
    """A range of an object, under the name that its caller gave it."""

    name: str
    key: str  # as it was given
    offset: int
    nbytes: int
    region: Region


class SharedRegions:
    """The registered regions of all callers; lives on the event loop.

    A caller is the owner of an API key; without keys all who may connect are one.

    Args:
        shared_memory: the policy, and what opens objects.
    """

    def __init__(self, shared_memory: SharedMemory) -> None:
        self._shared_memory = shared_memory
        self._of: dict[str, dict[str, Registered]] = {}

    @property
    def is_on(self) -> bool:
        """True when the operator allows any name."""
        return self._shared_memory.policy.is_on

    def check_caller(self, peer: str) -> None:
        """See `server.shared_memory.policy`."""
        self._shared_memory.policy.check_caller(peer)

    def has(self, owner: str, name: str) -> bool:
        """True when the caller has a region of that name."""
        return name in self._of.get(owner, {})

    def register(self, owner: str, request: control_pb2.SystemSharedMemoryRegisterRequest) -> None:
        """Opens the object and keeps it under the name, which is not taken.

        Raises:
            SharedMemoryRefused, SharedMemoryWrong: see `server.shared_memory.policy`.
            WrongRequest: there are too many.
        """
        name = request.name
        region = self._open(self._shared_memory.policy.check_name(request.key))
        region.check(request.offset, request.byte_size)
        self._make_room(owner)
        self._of.setdefault(owner, {})[name] = Registered(
            name, request.key, request.offset, request.byte_size, region
        )

    def unregister(self, owner: str, peer: str, name: str) -> None:
        """Forgets one region, or all of the caller's when `name` is empty; one that is not there
        is forgotten already. Whoever has none may say so from anywhere: perf_analyzer does before
        it begins.
        """
        if owner not in self._of:
            return
        self._shared_memory.policy.check_caller(peer)
        if not name:
            self._of.pop(owner, None)
            return
        mine = self._of.get(owner, {})
        mine.pop(name, None)
        if not mine:
            self._of.pop(owner, None)

    def status(self, owner: str, peer: str, name: str) -> Iterator[Registered]:
        """One region, or all of the caller's when `name` is empty.

        Raises:
            RegionUnknown: there is none of that name.
        """
        self._shared_memory.policy.check_caller(peer)
        mine = self._of.get(owner, {})
        return iter([_named(mine, name)] if name else list(mine.values()))

    def span(self, owner: str, peer: str, name: str, offset: int, nbytes: int) -> Span:
        """A range of one of the caller's regions.

        Raises:
            SharedMemoryRefused: the caller may not use shared memory.
            RegionUnknown: there is no region of that name.
            SharedMemoryWrong: the range goes past its end.
        """
        self._shared_memory.policy.check_caller(peer)
        found = _named(self._of.get(owner, {}), name)
        if offset + nbytes > found.nbytes:
            raise SharedMemoryWrong(
                f"the range {offset} to {offset + nbytes} is outside of region '{name}', which has "
                f"{found.nbytes} bytes: correct shared_memory_offset and shared_memory_byte_size"
            )
        start = found.offset + offset
        found.region.check(start, nbytes)  # its object may have been cut short since
        return Span(found.region, start, nbytes, name, offset)

    def close(self) -> None:
        """Lets all go."""
        self._of.clear()

    def _open(self, key: str) -> Region:
        """The object for reading and writing; for reading alone where the server may not write."""
        regions = self._shared_memory.regions
        try:
            return regions.open(key, writable=True)
        except SharedMemoryWrong:
            return regions.open(key, writable=False)

    def _make_room(self, owner: str) -> None:
        """Drops what nobody can mean any more; a process that died unregistered nothing."""
        mine = self._of.get(owner)
        if mine is not None and len(mine) >= MOST_REGIONS:
            for name in [name for name, each in mine.items() if each.region.is_unlinked]:
                del mine[name]
            if len(mine) >= MOST_REGIONS:
                raise WrongRequest(
                    f"{MOST_REGIONS} regions are registered, which is all there may be: unregister "
                    "those that are not used, or use ranges of one"
                )
        if mine is None and len(self._of) >= MOST_CALLERS:
            raise WrongRequest(
                f"{MOST_CALLERS} callers have regions registered, which is all there may be: try "
                "again when one has unregistered its own"
            )


def _named(mine: dict[str, Registered], name: str) -> Registered:
    found = mine.get(name)
    if found is None:
        raise unknown(name)
    return found


def unknown(name: str) -> RegionUnknown:
    """What is wrong with a name that nobody registered."""
    return RegionUnknown(
        f"no shared memory is registered as '{name}': register it with SystemSharedMemoryRegister "
        "or CudaSharedMemoryRegister"
    )
