"""Pictures out of callers' device memory into slots, results out of slots into it.

    caller's memory --copy on the device--> device in --kernels--> device out --copy--> caller's

Used by `server.device_pipeline`. Copied, and not worked on in place: kernels read words that must
be aligned, an owner may rewrite or free his memory, and at a device's speed the copy of a frame of
1080p takes microseconds. A plain picture so costs no copy of pixels between host and device; what
only the host can make of it (`needs_pixels`, `send`) costs one, and the report says so.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np

from kernels.device import Device, Stream
from kernels.statistics import HEADER_BYTES
from kernels.transfer import to_device, to_host, within_device
from server.codecs.encode import Encoded
from server.codecs.header import Header, Limits, check_limits
from server.codecs.raw import planes
from server.cuda_memory.ranges import DeviceSource, OpenRange
from server.device_intake import Found, found_raw
from server.device_slots import Slot
from server.job import RawSource
from server.shared_memory.policy import SharedMemoryWrong


class CallersMemory:
    """The copies from and to callers' memory; any number of threads may share it.

    Args:
        device: where the slots' memory and the callers' lies.
        limits: of the images it takes.
    """

    def __init__(self, device: Device, limits: Limits) -> None:
        self._device = device
        self._limits = limits
        self.stream = device.new_stream()  # so that no frame waits behind another's upload
        self._queueing = threading.Lock()

    def take(
        self, source: DeviceSource, slot: Slot, *, needs_pixels: bool
    ) -> tuple[Found, RawSource]:
        """The picture in the slot, and what the host has of it; the caller's memory is not read
        any more when this returns.

        Args:
            source: what was named.
            slot: empty.
            needs_pixels: the host will need the picture's own colours.

        Raises:
            ImageRejected: it is larger than this server takes.
            DeviceFull: there is not enough memory for it.
            DeviceLost: nothing works on the device any more.
        """
        layout, nbytes = source.layout, source.there.nbytes
        check_limits(Header("raw", layout.width, layout.height), self._limits)
        found = planes(layout, nbytes=nbytes)
        slot.reserve_input(nbytes)
        host, address = slot.add_plane(nbytes)
        device, stream, copies = self._device, self.stream, slot.copies
        try:
            with self._queueing:
                within_device(
                    device,
                    source.there.address,
                    address,
                    nbytes=nbytes,
                    stream=stream,
                    copies=copies,
                )
                if needs_pixels:
                    to_host(device, address, host, stream, copies)
                device.record(slot.uploaded, stream)
        finally:
            # Whatever came of it, nothing may read the caller's memory once this has returned.
            device.synchronize(slot.uploaded if not needs_pixels else stream)
        # The host's are its own: what prompts were given for outlives the slot's next picture.
        on_host = replace(layout, data=host.tobytes()) if needs_pixels else layout
        return found_raw(layout, found, address, is_there=True), on_host

    def deliver(self, slot: Slot, nbytes: int, target: OpenRange, stream: Stream) -> None:
        """Queues the copies of a finished result: its pixels to their owner, and what was counted
        of the alpha to the host.

        Args:
            slot: holds the result, header first.
            nbytes: of it, its header included.
            target: where the pixels go; it holds them.
            stream: which waits for the result.
        """
        host, address = slot.output(nbytes)
        within_device(
            self._device,
            address + HEADER_BYTES,
            target.address,
            nbytes=nbytes - HEADER_BYTES,
            stream=stream,
            copies=slot.copies,
        )
        # The report needs these 256 bytes; no pixel comes down.
        to_host(self._device, address, host[:HEADER_BYTES], stream, slot.copies)

    def send(self, slot: Slot, encoded: Encoded, target: OpenRange) -> Encoded:
        """A result that the host has finished, in its owner's memory; the same without its bytes.

        Raises:
            SharedMemoryWrong: the range is too small for it.
            DeviceFull: there is not enough page-locked memory.
            DeviceLost: nothing works on the device any more.
        """
        check_fits(target, encoded.width, encoded.height, len(encoded.data))
        slot.reserve_output(len(encoded.data))
        host, _ = slot.output(len(encoded.data))
        host[:] = np.frombuffer(encoded.data, np.uint8)
        with self._queueing:
            to_device(self._device, host, target.address, self.stream, slot.copies)
            self._device.record(slot.downloaded, self.stream)
        self._device.synchronize(slot.downloaded)
        return replace(encoded, data=b"")


def check_fits(target: OpenRange, width: int, height: int, nbytes: int) -> None:
    """Nothing when the range holds a result.

    Raises:
        SharedMemoryWrong: it does not.
    """
    if nbytes > target.nbytes:
        raise SharedMemoryWrong(
            f"the result is {nbytes} bytes ({width}x{height}), the range in CUDA memory has "
            f"{target.nbytes}: give a range that holds it"
        )
