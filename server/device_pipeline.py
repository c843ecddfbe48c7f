"""The stages of one image on a GPU: up once, everything there, one result down.

    decode into pinned memory --copy--> [prepare, engine, activation: one graph for the batch]
      -> finish, one pass over each picture --copy--> encode from pinned memory

Made by `server.replica`; see `server.pipeline` for the contract. Three streams: pictures go up
under the computing of earlier ones, results come down under the computing of later ones. The
kernels are `kernels.cuda`'s; the tests run all of this on the CPU with a device of their own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.cuda import finish
from kernels.cuda.finish import finish_bytes
from kernels.device import Stream
from kernels.image import PixelFormat as DeviceFormat
from kernels.image import image_struct, job_struct
from kernels.letterbox import place
from kernels.reference.finish import FinishOutput
from kernels.statistics import HEADER_BYTES, header_of, read_statistics
from kernels.transfer import count_upload, to_device, to_host
from models.device_model import DeviceBatch, DeviceModel
from models.errors import EngineFailed
from server.codecs.decode import Decoded, decode
from server.codecs.encode import encode_result
from server.codecs.header import Header, Limits, check_limits, read_header
from server.codecs.raw import planes, raw_to_rgb, ycbcr_of
from server.device_slots import Slot, SlotRing, aligned
from server.job import (
    EncodedSource,
    Format,
    Options,
    Output,
    PixelFormat,
    RawSource,
    Source,
)
from server.pipeline import Opened, Outcome

if TYPE_CHECKING:
    from server.codecs.nv_jpeg import DecodedOnDevice


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the last pass writes for an image."""

    output: FinishOutput
    color: tuple[int, int, int, int]
    nbytes: int  # of the result, its header included


@dataclass(slots=True, kw_only=True)
class DeviceOpened(Opened):
    """An image on its way to the device, in its slot."""

    slot: Slot
    image: NDArray[np.void]  # (1,) of dtype `kernels.image.IMAGE`
    wanted: Wanted
    source: Source
    decoded: Decoded | None  # None: raw pixels, or decoded on the device


class JpegDecoder(Protocol):
    """What decodes JPEG on the device; `server.codecs.nv_jpeg` has one."""

    def decode(self, data: bytes, stream: Stream, *, reuse: Any) -> DecodedOnDevice | None:
        """The picture in device memory, usable by what is queued on `stream` from now on; None:
        ask the CPU.
        """


@dataclass(frozen=True, slots=True)
class _Found:
    """A picture, decoded."""

    width: int
    height: int
    format: str
    image: NDArray[np.void]  # (1,) of dtype `kernels.image.IMAGE`
    decoded: Decoded | None  # None: the host has no pixels of it
    is_there: bool = False  # on the device already


class DevicePipeline:
    """Stages of one image on one GPU; see `server.pipeline.Pipeline`.

    Args:
        model: loaded and warm.
        limits: of the images it takes.
        jpeg: decodes JPEG on the device where it can; None: all are decoded on the CPU.
        on_launch: told of every run whether it was the replay of a graph.
    """

    def __init__(
        self,
        model: DeviceModel,
        limits: Limits,
        *,
        jpeg: JpegDecoder | None = None,
        on_launch: Callable[[bool], None] = lambda is_graph: None,
    ) -> None:
        self.model = model
        self.limits = limits
        self._device = model.device
        self._jpeg = jpeg
        self._on_launch = on_launch
        self._device.use()
        self._device.load(*finish.KERNELS)
        # As many as fill the batches in flight, and one batch more that is being decoded.
        self._slots = SlotRing(self._device, (model.max_concurrent_runs + 1) * model.max_batch)
        self._uploads = self._device.new_stream()
        self._downloads = self._device.new_stream()
        self._uploading = threading.Lock()
        self._launching = threading.Lock()
        self._batches = deque(model.batches)

    @property
    def seats(self) -> int:
        """Images that may be between `open` and `close` at once."""
        return self._slots.count

    def seat(self) -> AbstractContextManager[Slot]:
        """A slot of the ring.

        Raises:
            RuntimeError: all are taken.
        """
        return self._slots.slot()

    def open(self, source: Source, options: Options, seat: Slot) -> DeviceOpened:
        """The image decoded into page-locked memory, its copy to the device under way.

        Raises:
            ImageRejected: the bytes are no picture this server takes; the sentence says why.
            DeviceError: there is not enough memory for it.
        """
        started = perf_counter()
        self._device.use()
        found = (
            self._take_raw(source, seat)
            if isinstance(source, RawSource)
            else self._decode_there(source.data, options, seat)
            or self._decode_here(source, options, seat)
        )
        decoded_at = perf_counter()
        wanted = _wanted(options, found.width, found.height)
        seat.reserve_output(wanted.nbytes)
        with self._uploading:
            if not found.is_there:
                host, address = seat.input
                to_device(self._device, host, address, self._uploads, seat.copies)
            self._device.record(seat.uploaded, self._uploads)
        return DeviceOpened(
            width=found.width,
            height=found.height,
            format=found.format,
            notes=found.decoded.notes if found.decoded else (),
            decode_ms=(decoded_at - started) * 1e3,
            prepare_ms=(perf_counter() - decoded_at) * 1e3,
            slot=seat,
            image=found.image,
            wanted=wanted,
            source=source,
            decoded=found.decoded,
        )

    def run(self, batch: list[DeviceOpened]) -> Sequence[None]:
        """Computes the results and brings them down; they lie in the slots when this returns.

        Raises:
            EngineFailed: the engine could not run, or answered values that are not numbers.
            DeviceError: the device refused.
        """
        self._device.use()
        with self._launching:
            buffers = self._batches.popleft()
            try:
                self._launch(batch, buffers)
            except BaseException:
                # Nothing of what was queued before the mistake may run into the next batch.
                self._device.synchronize(self.model.stream)
                self._device.synchronize(self._downloads)
                self._batches.append(buffers)
                raise
        try:
            for opened in batch:
                self._device.synchronize(opened.slot.downloaded)
        finally:
            self._batches.append(buffers)
        for opened in batch:
            if self._counted(opened)["not_finite"].any():
                raise EngineFailed(
                    f"model '{self.model.manifest.name}' ({self.model.manifest.path}) answered "
                    f"values that are not numbers"
                )
        return [None] * len(batch)

    def close(self, opened: DeviceOpened, answer: None, options: Options) -> Outcome:
        """The result, encoded out of the slot's page-locked memory."""
        started = perf_counter()
        statistics = read_statistics(self._counted(opened), opened.width, opened.height)
        host, _ = opened.slot.output(opened.wanted.nbytes)
        channels = opened.wanted.output.channels
        shape = (opened.height, opened.width, channels)
        pixels = host[HEADER_BYTES:].reshape(shape if channels > 1 else shape[:2])
        alpha_u8 = pixels  # read for ZIP alone, where it is the alpha that came down
        if options.format is Format.ZIP:
            pixels = _host_rgb(opened)
        decoded = opened.decoded
        finished_at = perf_counter()
        encoded = encode_result(
            pixels,
            alpha_u8,
            options,
            icc=decoded.icc if decoded else None,
            dpi=decoded.dpi if decoded else None,
        )
        return Outcome(
            encoded=encoded,
            statistics=statistics,
            finish_ms=(finished_at - started) * 1e3,
            encode_ms=(perf_counter() - finished_at) * 1e3,
            copies=opened.slot.copies,
        )

    def free(self) -> None:
        """Waits for the copies under way; the pipeline is not used any more."""
        self._device.use()
        self._device.synchronize(self._uploads)
        self._device.synchronize(self._downloads)

    def _launch(self, batch: list[DeviceOpened], buffers: DeviceBatch) -> None:
        """Queues everything for a batch; nothing is waited for."""
        device, model, stream = self._device, self.model, self.model.stream
        plane = model.manifest.input
        fit = model.manifest.fit
        jobs = []
        for opened in batch:
            device.wait_for(stream, opened.slot.uploaded)
            size = (opened.width, opened.height)
            jobs.append(job_struct(opened.image, place(size, (plane.width, plane.height), fit)))
        self._on_launch(buffers.enqueue(np.concatenate(jobs), stream))
        alpha_wh = (model.alpha_width, model.alpha_height)
        for lane, opened in enumerate(batch):
            slot = opened.slot
            host, address = slot.output(opened.wanted.nbytes)
            finish.finish(
                device,
                stream,
                image=opened.image,
                alpha=buffers.alpha(lane),
                plane_wh=alpha_wh,
                at=place((opened.width, opened.height), alpha_wh, fit),
                flags=buffers.flags(lane),
                target=address,
                output=opened.wanted.output,
                color=opened.wanted.color,
            )
            device.record(slot.finished, stream)
            device.wait_for(self._downloads, slot.finished)
            to_host(device, address, host, self._downloads, slot.copies)
            device.record(slot.downloaded, self._downloads)

    def _decode_there(self, data: bytes, options: Options, slot: Slot) -> _Found | None:
        """A JPEG decoded by the device; None where it cannot, or where the host needs the picture
        too.
        """
        if self._jpeg is None or options.keep_metadata or options.format is Format.ZIP:
            return None
        header = read_header(data)
        if header.format != "jpeg":
            return None
        check_limits(header, self.limits)
        with self._uploading:  # the decoder is for one thread at a time, and so is its stream
            there = self._jpeg.decode(data, self._uploads, reuse=slot.decoded)
            if there is None:
                return None
            self._device.record(slot.uploaded, self._uploads)
        slot.decoded = there
        count_upload(len(data), slot.copies)
        image = image_struct(
            ((there.address, there.stride),), there.width, there.height, DeviceFormat.RGB8
        )
        return _Found(there.width, there.height, "jpeg", image, None, is_there=True)

    def _decode_here(self, source: EncodedSource, options: Options, slot: Slot) -> _Found:
        """A picture decoded by the CPU, a JPEG straight into the slot."""
        decoded = decode(
            source,
            self.limits,
            keep_metadata=options.keep_metadata,
            room=lambda nbytes: _reserved(slot, nbytes),
        )
        height, width = decoded.rgb.shape[:2]
        return _Found(width, height, decoded.format, _fill_decoded(decoded, slot), decoded)

    def _take_raw(self, source: RawSource, slot: Slot) -> _Found:
        """Raw pixels in the slot as they came, strides and all."""
        check_limits(Header("raw", source.width, source.height), self.limits)
        found = planes(source)
        data = np.frombuffer(source.data, np.uint8)
        slot.reserve_input(data.nbytes)
        view, address = slot.add_plane(data.nbytes)
        view[:] = data
        has_chroma = source.format in (PixelFormat.NV12, PixelFormat.I420)
        image = image_struct(
            tuple((address + plane.start, plane.stride) for plane in found),
            source.width,
            source.height,
            DeviceFormat[source.format.name],
            ycbcr=ycbcr_of(source) if has_chroma else None,
        )
        return _Found(source.width, source.height, "raw", image, None)

    def _counted(self, opened: DeviceOpened) -> NDArray[np.void]:
        """What the last pass counted of the alpha, as it lies in front of the pixels."""
        host, _ = opened.slot.output(opened.wanted.nbytes)
        return header_of(host)


def _wanted(options: Options, width: int, height: int) -> Wanted:
    color = (0, 0, 0, 0)
    if options.output is Output.ALPHA or options.format is Format.ZIP:
        output = FinishOutput.ALPHA  # a zip's colours are the picture's own, still on the host
    elif options.output is Output.CUTOUT:
        output = FinishOutput.CUTOUT
    elif options.background is None:
        raise ValueError("a composite needs a background; server.options should have said so")
    else:
        behind = options.background
        color = (behind.red, behind.green, behind.blue, behind.alpha)
        if behind.alpha == 0:
            output = FinishOutput.CUTOUT
        else:
            output = FinishOutput.OPAQUE if behind.is_opaque else FinishOutput.TRANSLUCENT
    return Wanted(output, color, finish_bytes(output, width, height))


def _reserved(slot: Slot, nbytes: int) -> NDArray[np.uint8]:
    """Where a JPEG's RGB is decoded to: the slot's first plane."""
    slot.reserve_input(nbytes)
    view, _ = slot.add_plane(nbytes)
    return view


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


def _host_rgb(opened: DeviceOpened) -> NDArray[np.uint8]:
    """The picture's own colours, (H, W, 3), without a copy from the device."""
    if opened.decoded is not None:
        return opened.decoded.rgb
    assert isinstance(opened.source, RawSource)
    return raw_to_rgb(opened.source)[0]
