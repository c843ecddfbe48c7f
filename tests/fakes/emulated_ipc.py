"""CUDA IPC on this CPU: other processes' device memory behind handles of 64 opaque bytes.

`EmulatedDevice` opens what `OtherProcess` shares. As strict as CUDA says that it is: a handle does
not open in its own process, on another GPU, or once its owner is gone; what is not open may not be
touched; nothing is closed twice. Opening twice, which CUDA would count, is taken for a leak.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.device import DeviceError, HandleRefused
from tests.fakes.emulated_memory import EmulatedMemory

HANDLE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Opened:
    """Another process's allocation, as `kernels.device.Memory`."""

    address: int
    nbytes: int
    block: EmulatedMemory  # keeps it, as a driver's mapping does


@dataclass(frozen=True, slots=True)
class _Export:
    block: EmulatedMemory
    gpu: int
    owner: OtherProcess


class Driver:
    """What all emulated devices of this process know of each other's memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exports: dict[bytes, _Export] = {}
        self._open: dict[int, Opened] = {}
        self.opened = 0  # handles so far, those that were closed again included

    @property
    def open_now(self) -> int:
        """Handles that are open."""
        return len(self._open)

    def export(self, block: EmulatedMemory, gpu: int, owner: OtherProcess) -> bytes:
        """A new handle."""
        handle = secrets.token_bytes(HANDLE_BYTES)
        with self._lock:
            self._exports[handle] = _Export(block, gpu, owner)
        return handle

    def open(self, handle: bytes, gpu: int) -> Opened:
        """What `handle` stands for."""
        if len(handle) != HANDLE_BYTES:
            raise HandleRefused(f"the handle has {len(handle)} bytes, a cudaIpcMemHandle_t has 64")
        with self._lock:
            export = self._exports.get(handle)
            if export is None or export.owner.has_ended:
                raise HandleRefused("cudaErrorInvalidResourceHandle: invalid resource handle")
            if export.owner.is_this_process:
                raise HandleRefused("cudaErrorDeviceUninitialized: invalid device context")
            if export.gpu != gpu:
                raise HandleRefused(f"the handle's memory lies on GPU {export.gpu}, not on {gpu}")
            block = export.block
            if block.address in self._open:
                raise DeviceError("a handle was opened that is open already")
            opened = Opened(block.address, block.nbytes, block)
            self._open[block.address] = opened
            self.opened += 1
            return opened

    def close(self, address: int) -> None:
        """Ends what `open` gave."""
        with self._lock:
            if self._open.pop(address, None) is None:
                raise DeviceError("a handle was closed that is not open")

    def holds(self, address: int, nbytes: int) -> bool:
        """True when the range lies within memory that is open."""
        with self._lock:
            return any(
                each.address <= address and address + nbytes <= each.address + each.nbytes
                for each in self._open.values()
            )


DRIVER = Driver()


class OtherProcess:
    """A process with memory on a GPU, which it shares.

    Args:
        gpu: the one it uses.
        is_this_process: it is the server's own.
    """

    def __init__(self, gpu: int = 0, *, is_this_process: bool = False) -> None:
        self.gpu = gpu
        self.is_this_process = is_this_process
        self.has_ended = False
        self.blocks: list[EmulatedMemory] = []
        self.handles: dict[int, bytes] = {}  # by address; of one allocation always the same

    def share(self, content: NDArray[np.uint8] | int) -> tuple[bytes, EmulatedMemory]:
        """New memory, and the handle of it.

        Args:
            content: what lies in it, or how many bytes of 0xFF.
        """
        nbytes = content if isinstance(content, int) else content.nbytes
        block = EmulatedMemory(nbytes, guarded=True)
        self.blocks.append(block)
        handle = self.handles[block.address] = DRIVER.export(block, self.gpu, self)
        if not isinstance(content, int):
            block.array[:] = content.reshape(-1)
        return handle, block

    def ends(self) -> None:
        """The process is gone: its handles open no more, what is open stays."""
        self.has_ended = True

    def check_guards(self) -> None:
        """Nothing when nobody wrote beside its memory."""
        for block in self.blocks:
            assert block.overrun() is None, block.overrun()
