"""Which CUDA IPC handles are open, each once, for as long as somebody holds a lease of it.

Used by `server.cuda_memory.door`, in worker threads: opening and closing are calls to the driver,
which may wait. Nothing is kept for later: an owner that frees memory while we have it open does
what CUDA leaves undefined, so a handle is closed before the answer that ends its use, and a new
allocation of the same bytes of handle is never taken for the old one.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from kernels.device import Device, DeviceError, HandleRefused, Memory
from server.shared_memory.policy import SharedMemoryWrong

log = logging.getLogger(__name__)

MOST_OPEN = 256  # on all GPUs; each keeps its owner's memory from being freed
MOST_HELD = 32  # by one stream beyond its frames in work; a ring of frames is one allocation

Key = tuple[int, bytes]  # GPU and handle


@dataclass(slots=True)
class _Opened:
    device: Device
    memory: Memory
    users: int = 0


@dataclass(slots=True)
class Lease:
    """The right to use an open allocation, until `close`."""

    leases: Leases
    key: Key
    memory: Memory
    is_closed: bool = field(default=False, init=False)

    def close(self) -> None:
        """Ends it, once; with the last one the handle is closed. A call to the driver."""
        self.leases.give_back(self)


class Leases:
    """The open handles of the whole process. Safe to use from several threads.

    Args:
        most: handles open at once.
    """

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._open: dict[Key, _Opened] = {}
        # Held while the driver works: a handle must not be opened in one thread while another
        # closes it.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def take(self, device: Device, handle: bytes) -> Lease:
        """A lease of the allocation behind `handle`, on the GPU of `device`.

        Raises:
            SharedMemoryWrong: it does not open there, or too many are open.
        """
        key = (device.index, handle)
        with self._lock:
            found = self._open.get(key)
            if found is None:
                if len(self._open) >= self._most:
                    raise SharedMemoryWrong(
                        f"{self._most} CUDA IPC handles are open, which is all there may be: name "
                        "ranges of fewer allocations, or unregister those that are not used"
                    )
                found = self._open[key] = _Opened(device, _opened(device, handle))
            found.users += 1
            return Lease(self, key, found.memory)

    def give_back(self, lease: Lease) -> None:
        """See `Lease.close`."""
        with self._lock:
            if lease.is_closed:
                return
            lease.is_closed = True
            found = self._open[lease.key]
            found.users -= 1
            if not found.users:
                del self._open[lease.key]
                self._end(found)

    def _end(self, opened: _Opened) -> None:
        try:
            opened.device.use()
            opened.device.close_handle(opened.memory)
        except DeviceError as error:  # of a sick device; whoever computes on it will tell
            log.warning("a CUDA IPC handle was not closed: %s", error)


class Held:
    """What a stream, or a caller of Triton's protocol, holds open between its requests.

    Args:
        leases: those of the process.
        most: handles; the one used longest ago is let go first.
    """

    def __init__(self, leases: Leases, most: int = MOST_HELD) -> None:
        self._leases = leases
        self._most = most
        self._kept: dict[Key, Lease] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def take(self, device: Device, handle: bytes) -> Lease:
        """As `Leases.take`; the handle stays open after the lease. Raises as that."""
        lease = self._leases.take(device, handle)
        gone: list[Lease] = []
        with self._lock:
            if not self._is_closed:
                kept = self._kept.pop(lease.key, None) or self._leases.take(device, handle)
                self._kept[lease.key] = kept
                while len(self._kept) > self._most:
                    gone.append(self._kept.pop(next(iter(self._kept))))
        for each in gone:
            each.close()
        return lease

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to close."""
        return not self._kept

    def close(self) -> None:
        """Lets all go, and keeps none from now on."""
        with self._lock:
            self._is_closed = True
            kept = list(self._kept.values())
            self._kept.clear()
        for each in kept:
            each.close()


def _opened(device: Device, handle: bytes) -> Memory:
    device.use()
    try:
        return device.open_handle(handle)
    except HandleRefused as error:
        raise SharedMemoryWrong(f"CUDA memory cannot be opened: {error}") from error
