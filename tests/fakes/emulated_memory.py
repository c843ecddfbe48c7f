"""A block of an emulated device's memory, guarded at both ends.

Made by `tests.fakes.emulated_device` for a server, by `tests.fakes.emulated_ipc` for its callers.
"""

from __future__ import annotations

import ctypes
import weakref

import numpy as np
from numpy.typing import NDArray

from kernels.device import DeviceError

ALIGNMENT = 256
GUARD = bytes(range(255, -1, -1))  # before and behind every block
_LIBC = ctypes.CDLL(None)
_LIBC.free.argtypes = [ctypes.c_void_p]


class EmulatedMemory:
    """A block of "device" memory. Its bytes are 0xFF until written."""

    def __init__(self, nbytes: int, guarded: bool) -> None:
        self.nbytes = nbytes
        self._guard = len(GUARD) if guarded else 0
        start = ctypes.c_void_p()
        wanted = ctypes.c_size_t(nbytes + 2 * self._guard)
        if _LIBC.posix_memalign(ctypes.byref(start), ctypes.c_size_t(ALIGNMENT), wanted):
            raise DeviceError(f"there is no room for {nbytes} bytes")
        assert start.value is not None
        self.address = start.value + self._guard
        ctypes.memset(self.address, 0xFF, nbytes)
        if guarded:
            ctypes.memmove(start.value, GUARD, len(GUARD))
            ctypes.memmove(self.address + nbytes, GUARD, len(GUARD))
        weakref.finalize(self, _LIBC.free, start)

    def overrun(self) -> str | None:
        """Where somebody wrote beside the block, None when nobody did."""
        if not self._guard:
            return None
        if ctypes.string_at(self.address - len(GUARD), len(GUARD)) != GUARD:
            return "before the start"
        if ctypes.string_at(self.address + self.nbytes, len(GUARD)) != GUARD:
            return "behind the end"
        return None

    @property
    def array(self) -> NDArray[np.uint8]:
        """The block as its owner sees it, (nbytes,) uint8; not to outlive the block."""
        found = (ctypes.c_uint8 * self.nbytes).from_address(self.address)
        view: NDArray[np.uint8] = np.ctypeslib.as_array(found)
        return view
