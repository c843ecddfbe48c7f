"""How a picture gets into a slot: decoded by the CPU into page-locked memory, decoded by the
device, or taken as the raw pixels that came.

Called by `server.device_pipeline` in a worker thread; nothing is copied to the device here.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.device import Device, Stream
from kernels.image import PixelFormat as DeviceFormat
from kernels.image import image_struct
from kernels.transfer import count_upload
from server.codecs.decode import Decoded, decode
from server.codecs.header import Header, Limits, check_limits, read_header
from server.codecs.raw import Plane, planes, ycbcr_of
from server.device_slots import Slot, aligned
from server.job import EncodedSource, PixelFormat, RawSource, Source
from server.shrink import shrunk

if TYPE_CHECKING:
    from server.codecs.nv_jpeg import DecodedOnDevice


class JpegDecoder(Protocol):
    """What decodes JPEG on the device; `server.codecs.nv_jpeg` has one."""

    def decode(self, data: bytes, stream: Stream, *, reuse: Any) -> DecodedOnDevice | None:
        """The picture in device memory, usable by what is queued on `stream` from now on; None:
        ask the CPU.
        """


@dataclass(frozen=True, slots=True)
class Found:
    """A picture, decoded."""

    width: int
    height: int
    format: str
    image: NDArray[np.void]  # (1,) of dtype `kernels.image.IMAGE`
    decoded: Decoded | None  # None: the host has no pixels of it
    is_there: bool = False  # on the device already


class Intake:
    """Takes pictures into slots; any number of threads may share it.

    Args:
        device: where the slots' memory lies.
        limits: of the images it takes.
        jpeg: decodes JPEG on the device where it can; None: all are decoded on the CPU.
    """

    def __init__(self, device: Device, limits: Limits, jpeg: JpegDecoder | None) -> None:
        self._device = device
        self._limits = limits
        self._jpeg = jpeg
        self.stream = device.new_stream()  # of the decoder on the device: slower than an upload
        self._decoding = threading.Lock()

    def take(
        self,
        source: Source,
        slot: Slot,
        *,
        keep_metadata: bool,
        needs_pixels: bool,
        max_megapixels: float = 0.0,
    ) -> Found:
        """The picture in the slot, or on the device already.

        Args:
            source: what came.
            slot: empty.
            keep_metadata: read the ICC profile and the resolution too.
            needs_pixels: the host will need the picture's own colours.
            max_megapixels: a larger picture is made smaller, by the CPU; 0: none is.

        Raises:
            ImageRejected: the bytes are no picture this server takes; the sentence says why.
            DeviceFull: there is not enough memory for it.
        """
        if max_megapixels:
            decoded = decode(source, self._limits, keep_metadata=keep_metadata)
            return _found(shrunk(decoded, max_megapixels), slot)
        if isinstance(source, RawSource):
            return self._take_raw(source, slot)
        if not (keep_metadata or needs_pixels):
            there = self._decode_there(source.data, slot)
            if there is not None:
                return there
        return self._decode_here(source, slot, keep_metadata=keep_metadata)

    def _decode_there(self, data: bytes, slot: Slot) -> Found | None:
        """A JPEG decoded by the device; None where it cannot."""
        if self._jpeg is None:
            return None
        header = read_header(data)
        if header.format != "jpeg":
            return None
        check_limits(header, self._limits)
        with self._decoding:  # the decoder is for one thread at a time, and so is its stream
            there = self._jpeg.decode(data, self.stream, reuse=slot.decoded)
            if there is None:
                return None
            self._device.record(slot.uploaded, self.stream)
        slot.decoded = there
        count_upload(len(data), slot.copies)
        image = image_struct(
            ((there.address, there.stride),), there.width, there.height, DeviceFormat.RGB8
        )
        return Found(there.width, there.height, "jpeg", image, None, is_there=True)

    def _decode_here(self, source: EncodedSource, slot: Slot, *, keep_metadata: bool) -> Found:
        """A picture decoded by the CPU, a JPEG straight into the slot."""
        decoded = decode(
            source,
            self._limits,
            keep_metadata=keep_metadata,
            room=slot.room,
        )
        return _found(decoded, slot)

    def _take_raw(self, source: RawSource, slot: Slot) -> Found:
        """Raw pixels in the slot as they came, strides and all, copied there unless they were read
        there (`Slot.room`).
        """
        check_limits(Header("raw", source.width, source.height), self._limits)
        found = planes(source)
        data = np.frombuffer(source.data, np.uint8)
        slot.discard_planes()
        slot.reserve_input(data.nbytes)
        view, address = slot.add_plane(data.nbytes)
        if data.ctypes.data != view.ctypes.data:
            view[:] = data
        return found_raw(source, found, address)


def found_raw(
    layout: RawSource, found: tuple[Plane, ...], address: int, *, is_there: bool = False
) -> Found:
    """A raw picture whose planes lie (or, unless it `is_there`, will lie) at `address`."""
    has_chroma = layout.format in (PixelFormat.NV12, PixelFormat.I420)
    image = image_struct(
        tuple((address + plane.start, plane.stride) for plane in found),
        layout.width,
        layout.height,
        DeviceFormat[layout.format.name],
        ycbcr=ycbcr_of(layout) if has_chroma else None,
    )
    return Found(layout.width, layout.height, "raw", image, None, is_there)


def _found(decoded: Decoded, slot: Slot) -> Found:
    height, width = decoded.rgb.shape[:2]
    return Found(width, height, decoded.format, _fill_decoded(decoded, slot), decoded)


def _fill_decoded(decoded: Decoded, slot: Slot) -> NDArray[np.void]:
    """The picture in the slot, copied there unless it was decoded there."""
    rgb, alpha = decoded.rgb, decoded.alpha
    height, width = rgb.shape[:2]
    # What a JPEG was decoded to before it was turned upright is not needed any more.
    slot.discard_planes()
    slot.reserve_input(aligned(rgb.nbytes) + (alpha.nbytes if alpha is not None else 0))
    view, address = slot.add_plane(rgb.nbytes)
    if rgb.ctypes.data != view.ctypes.data:
        view[:] = rgb.reshape(-1)
    alpha_plane = (0, 0)
    if alpha is not None:
        view, alpha_address = slot.add_plane(alpha.nbytes)
        view[:] = alpha.reshape(-1)
        alpha_plane = (alpha_address, width)
    return image_struct(
        ((address, 3 * width),), width, height, DeviceFormat.RGB8, alpha=alpha_plane
    )
