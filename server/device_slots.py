"""The ring of slots: what one image needs on its way through a GPU, taken once and used again.

    pinned in --copy--> device in --kernels--> device out --copy--> pinned out

Made by `server.device_pipeline`. Nothing is allocated for an image that fits where an earlier one
was; a slot grows to the largest image it has met, and lets go of blocks too large to keep.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.device import Device, HostMemory, Memory
from kernels.transfer import Copies

# A slot grows in such steps, so that sizes that differ a little share one block.
STEP_BYTES = 1 << 20
# Larger blocks are given back after the image: 64 MiB holds 4K in every format, 16 MP as RGBA.
KEEP_BYTES = 64 << 20
ALIGNMENT = 256  # of every plane within a slot


class Slot:
    """The memory and the events of one image. Used by one thread at a time."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._host_in: HostMemory | None = None
        self._device_in: Memory | None = None
        self._host_out: HostMemory | None = None
        self._device_out: Memory | None = None
        self._filled = 0
        self.decoded: Any = None  # memory of a decoder on the device, for the next picture again
        self.uploaded = device.new_event()  # the picture is on the device
        self.finished = device.new_event()  # the result is computed
        self.downloaded = device.new_event()  # the result is on the host
        self.copies = Copies()

    def begin(self) -> None:
        """Empties the slot for the next image."""
        self.copies = Copies()
        self.discard_planes()

    def discard_planes(self) -> None:
        """Forgets what was added; the room stays."""
        self._filled = 0

    def reserve_input(self, nbytes: int) -> None:
        """Room for a picture of `nbytes`, paddings between its planes included.

        Raises:
            DeviceError: there is not enough memory.
        """
        if self._host_in is None or self._host_in.array.nbytes < nbytes:
            self._host_in = self._device_in = None  # the old blocks go before the new ones come
            self._device_in = self._device.allocate(_grown(nbytes))
            self._host_in = self._device.allocate_host(_grown(nbytes))

    def add_plane(self, nbytes: int) -> tuple[NDArray[np.uint8], int]:
        """The next `nbytes` of the reserved room: (nbytes,) uint8 to write into, and the address
        on the device that they will be copied to.
        """
        assert self._host_in is not None
        assert self._device_in is not None
        start = -(-self._filled // ALIGNMENT) * ALIGNMENT
        self._filled = start + nbytes
        return (
            self._host_in.array[start : self._filled],
            self._device_in.address + start,
        )

    @property
    def input(self) -> tuple[NDArray[np.uint8], int]:
        """All that was added, in one piece, and its address on the device."""
        assert self._host_in is not None
        assert self._device_in is not None
        return self._host_in.array[: self._filled], self._device_in.address

    def reserve_output(self, nbytes: int) -> int:
        """Room for a result; its address on the device.

        Raises:
            DeviceError: there is not enough memory.
        """
        if self._host_out is None or self._host_out.array.nbytes < nbytes:
            self._host_out = self._device_out = None
            self._device_out = self._device.allocate(_grown(nbytes))
            self._host_out = self._device.allocate_host(_grown(nbytes))
        assert self._device_out is not None
        return self._device_out.address

    def output(self, nbytes: int) -> tuple[NDArray[np.uint8], int]:
        """The first `nbytes` of the result on the host, and its address on the device."""
        assert self._host_out is not None
        assert self._device_out is not None
        return self._host_out.array[:nbytes], self._device_out.address

    def end(self) -> None:
        """Lets go of blocks that are too large to keep."""
        if self._host_in is not None and self._host_in.array.nbytes > KEEP_BYTES:
            self._host_in = self._device_in = None
        if self._host_out is not None and self._host_out.array.nbytes > KEEP_BYTES:
            self._host_out = self._device_out = None


class SlotRing:
    """A fixed number of slots, the one used last given out first: its blocks are the warmest."""

    def __init__(self, device: Device, count: int) -> None:
        self.count = count
        self._free = deque(Slot(device) for _ in range(count))

    @contextmanager
    def slot(self) -> Iterator[Slot]:
        """A slot for as long as the block lasts.

        Raises:
            RuntimeError: all are taken; `server.replica` lets in no more images than there are.
        """
        if not self._free:
            raise RuntimeError(f"all {self.count} slots are taken")
        slot = self._free.pop()
        slot.begin()
        try:
            yield slot
        finally:
            slot.end()
            self._free.append(slot)


def aligned(nbytes: int) -> int:
    """`nbytes` and the padding behind it, as `Slot.add_plane` counts."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _grown(nbytes: int) -> int:
    return -(-nbytes // STEP_BYTES) * STEP_BYTES
