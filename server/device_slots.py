"""The ring of slots: what one image needs on its way through a GPU, taken once and used again.

    pinned in --copy--> device in --kernels--> device out --copy--> pinned out

Made by `server.device_pipeline`. Nothing is allocated for an image that fits where an earlier one
was; a slot grows to the largest image it has met. What all of them keep for the next images is
bounded; beyond that a slot gives its blocks back, and when the device is full all idle ones do.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.device import Device, DeviceFull, HostMemory, Memory
from kernels.transfer import Copies

# A slot grows in such steps, so that sizes that differ a little share one block.
STEP_BYTES = 1 << 20
ALIGNMENT = 256  # of every plane within a slot


class Slot:
    """The memory and the events of one image. Used by one thread at a time.

    Args:
        device: where.
        make_room: called once when the device is full, before it is asked again.
    """

    def __init__(self, device: Device, make_room: Callable[[], None] = lambda: None) -> None:
        self._device = device
        self._make_room = make_room
        self._host_in: HostMemory | None = None
        self._device_in: Memory | None = None
        self._host_out: HostMemory | None = None
        self._device_out: Memory | None = None
        self._scratch: Memory | None = None
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
            DeviceFull: there is not enough memory.
        """
        if self._host_in is None or self._host_in.array.nbytes < nbytes:
            self._host_in = self._device_in = None  # the old blocks go before the new ones come
            self._device_in, self._host_in = self._taken(_grown(nbytes))

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

    def room(self, nbytes: int) -> NDArray[np.uint8]:
        """The slot's first plane, (nbytes,) uint8 of page-locked memory: what is read or decoded
        into it needs no other copy on the host.

        Raises:
            DeviceFull: there is not enough memory.
        """
        self.reserve_input(nbytes)
        view, _ = self.add_plane(nbytes)
        return view

    @property
    def input(self) -> tuple[NDArray[np.uint8], int]:
        """All that was added, in one piece, and its address on the device."""
        assert self._host_in is not None
        assert self._device_in is not None
        return self._host_in.array[: self._filled], self._device_in.address

    def reserve_output(self, nbytes: int) -> int:
        """Room for a result; its address on the device.

        Raises:
            DeviceFull: there is not enough memory.
        """
        if self._host_out is None or self._host_out.array.nbytes < nbytes:
            self._host_out = self._device_out = None
            self._device_out, self._host_out = self._taken(_grown(nbytes))
        assert self._device_out is not None
        return self._device_out.address

    def output(self, nbytes: int) -> tuple[NDArray[np.uint8], int]:
        """The first `nbytes` of the result on the host, and its address on the device."""
        assert self._host_out is not None
        assert self._device_out is not None
        return self._host_out.array[:nbytes], self._device_out.address

    def reserve_scratch(self, nbytes: int) -> int:
        """Room on the device alone; its address.

        Raises:
            DeviceFull: there is not enough memory.
        """
        if self._scratch is None or self._scratch.nbytes < nbytes:
            self._scratch = None
            self._scratch = self._taken_there(_grown(nbytes))
        return self._scratch.address

    @property
    def kept_bytes(self) -> int:
        """Device memory it holds; its page-locked memory is no more."""
        blocks = (self._device_in, self._device_out, self._scratch)
        decoded = self.decoded.stride * self.decoded.height if self.decoded else 0
        return decoded + sum(block.nbytes for block in blocks if block is not None)

    def give_back(self) -> None:
        """Lets go of all memory; the next image takes it anew."""
        self._host_in = self._device_in = self._host_out = self._device_out = None
        self._scratch = None
        self.decoded = None

    def _taken_there(self, nbytes: int) -> Memory:
        try:
            return self._device.allocate(nbytes)
        except DeviceFull:
            self._make_room()
        return self._device.allocate(nbytes)

    def _taken(self, nbytes: int) -> tuple[Memory, HostMemory]:
        try:
            return self._device.allocate(nbytes), self._device.allocate_host(nbytes)
        except DeviceFull:
            self._make_room()
        return self._device.allocate(nbytes), self._device.allocate_host(nbytes)


class SlotRing:
    """A fixed number of slots, the one used last given out first: its blocks are the warmest.

    Args:
        device: where.
        count: images that may have one at once.
        keep_bytes: device memory that idle slots may hold together.
    """

    def __init__(self, device: Device, count: int, keep_bytes: int) -> None:
        self.count = count
        self._keep_bytes = keep_bytes
        self._free = deque(Slot(device, self.trim) for _ in range(count))
        self._available = threading.Semaphore(count)
        self._books = threading.Lock()  # slots are lent by the event loop, trimmed by workers

    @contextmanager
    def slot(self) -> Iterator[Slot]:
        """A slot for as long as the block lasts.

        Blocks while all are taken. In the server it never does: `server.replica` lets in no more
        images than there are slots, because its event loop may not wait here.
        """
        with self._available:
            with self._books:
                slot = self._free.pop()
            slot.begin()
            try:
                yield slot
            finally:
                with self._books:
                    kept = sum(each.kept_bytes for each in self._free)
                    if kept + slot.kept_bytes > self._keep_bytes:
                        slot.give_back()
                    self._free.append(slot)

    def trim(self) -> None:
        """Idle slots give their memory back."""
        with self._books:
            for slot in self._free:
                slot.give_back()


def aligned(nbytes: int) -> int:
    """`nbytes` and the padding behind it, as `Slot.add_plane` counts."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _grown(nbytes: int) -> int:
    return -(-nbytes // STEP_BYTES) * STEP_BYTES
