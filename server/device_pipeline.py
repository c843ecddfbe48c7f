"""The stages of one image on a GPU: up once, everything there, one result down.

    decode into pinned memory --copy--> [prepare, engine, activation: one graph for the batch]
      -> finish, one pass over each picture --copy--> encode from pinned memory

Made by `server.replica`; see `server.pipeline` for the contract. Three streams: pictures go up
under the computing of earlier ones, results come down under the computing of later ones. The
kernels are `kernels.cuda`'s; the tests run all of this on the CPU with a device of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from kernels.cuda import finish
from kernels.device import DeviceError
from kernels.statistics import HEADER_BYTES, read_statistics
from kernels.transfer import to_device
from models.device_model import DeviceModel
from models.errors import EngineFailed
from models.prepared_tensor import PreparedTensor
from server import device_edges
from server.codecs.decode import decode
from server.codecs.encode import Encoded, Packed, encode_result
from server.codecs.header import Limits
from server.cuda_memory.ranges import DeviceSource
from server.device_image import DeviceOpened, wanted_of
from server.device_intake import Found as FoundPicture
from server.device_intake import Intake, JpegDecoder
from server.device_runs import DeviceRuns
from server.device_sharing import CallersMemory
from server.device_slots import Slot, SlotRing
from server.device_streams import DeviceStreams
from server.finishing import DEVICE_DEFAULTS, Plan, plan
from server.finishing import finish as finish_on_host
from server.job import (
    FlatUse,
    Format,
    Options,
    PixelFormat,
    Refine,
    Source,
)
from server.known_background import Found, close_found, find_drawing, why_not
from server.pipeline import Outcome

KEEP_BYTES = 4 << 30
_RAW_FORMATS = {1: PixelFormat.GRAY8, 3: PixelFormat.RGB8, 4: PixelFormat.RGBA8}


class DevicePipeline:
    """Stages of one image on one GPU; see `server.pipeline.Pipeline`.

    Args:
        model: loaded and warm.
        limits: of the images it takes.
        jpeg: decodes JPEG on the device where it can; None: all are decoded on the CPU.
        keep_bytes: device memory that slots may keep for the next images.
        on_launch: see `DeviceRuns`.
        on_lost: see `DeviceRuns`.
    """

    def __init__(
        self,
        model: DeviceModel,
        limits: Limits,
        *,
        jpeg: JpegDecoder | None = None,
        keep_bytes: int = KEEP_BYTES,
        on_launch: Callable[[bool], None] = lambda is_graph: None,
        on_lost: Callable[[DeviceError], None] = lambda error: None,
    ) -> None:
        self.model = model
        self.limits = limits
        self._device = model.device
        self._device.use()
        self._device.load(*finish.KERNELS, *device_edges.KERNELS)
        # As many as fill the batches in flight, and one batch more that is being decoded.
        self._slots = SlotRing(
            self._device, (model.max_concurrent_runs + 1) * model.max_batch, keep_bytes
        )
        self._uploads = self._device.new_stream()
        self._intake = Intake(self._device, limits, jpeg)
        self._callers = CallersMemory(self._device, limits)
        self._streams = DeviceStreams(model, self._slots.trim)
        self._runs = DeviceRuns(
            model, self._streams, self._callers, on_launch=on_launch, on_lost=on_lost
        )
        self._uploading = threading.Lock()

    @property
    def seats(self) -> int:
        """Images that may be between `open` and `close` at once."""
        return self._slots.count

    def seat(self) -> AbstractContextManager[Slot]:
        """A slot of the ring; blocks while all are taken."""
        return self._slots.slot()

    def open(self, source: Source | DeviceSource, options: Options, seat: Slot) -> DeviceOpened:
        """The image decoded into page-locked memory, its copy to the device under way; out of a
        caller's device memory it is there.

        Raises:
            ImageRejected: the bytes are no picture this server takes; the sentence says why.
            DeviceError: there is not enough memory for it.
        """
        started = perf_counter()
        self._device.use()
        planned = plan(options, DEVICE_DEFAULTS)
        needs_pixels = (
            options.format is Format.ZIP
            or not (planned.is_plain or device_edges.are_done(planned))
            or options.flat_background.use is FlatUse.ON
        )
        found: FoundPicture | None = None
        if isinstance(source, DeviceSource):
            is_shrunk = options.max_megapixels > 0  # by the CPU
            there, source = self._callers.take(source, seat, needs_pixels=needs_pixels or is_shrunk)
            found = None if is_shrunk else there
        if found is None:
            found = self._intake.take(
                source,
                seat,
                keep_metadata=options.keep_metadata,
                needs_pixels=needs_pixels,
                max_megapixels=options.max_megapixels,
            )
        decoded_at = perf_counter()
        decoded, notes = found.decoded, found.decoded.notes if found.decoded else ()
        drawing: Found | None = None
        if decoded is None and options.flat_background.use is FlatUse.ON:
            decoded = decode(source, self.limits)  # raw pixels: the host has them as they came
        if decoded is not None:
            drawing = find_drawing(decoded.rgb, decoded.alpha, options)
            notes += () if drawing is not None else why_not(decoded.alpha, options)
        is_cut_out = device_edges.has_own_alpha(found.image)
        wanted = wanted_of(planned, found.width, found.height, is_cut_out=is_cut_out)
        seat.reserve_output(wanted.nbytes)
        if wanted.edges is not None:
            cell_px = self.model.cell_px(found.width, found.height)
            seat.reserve_scratch(device_edges.scratch_bytes(found.width, found.height, cell_px))
        if drawing is None and not found.is_there:
            host, address = seat.input
            with self._uploading:
                to_device(self._device, host, address, self._uploads, seat.copies)
                self._device.record(seat.uploaded, self._uploads)
        return DeviceOpened(
            width=found.width,
            height=found.height,
            format=found.format,
            notes=notes,
            decode_ms=(decoded_at - started) * 1e3,
            prepare_ms=(perf_counter() - decoded_at) * 1e3,
            slot=seat,
            image=found.image,
            wanted=wanted,
            source=source,
            decoded=decoded,
            drawing=drawing,
        )

    def run(self, batch: list[DeviceOpened]) -> Sequence[None]:
        """Computes the results and brings them down; they lie in the slots when this returns.

        Raises:
            EngineFailed: the engine could not run, or answered values that are not numbers.
            DeviceLost: nothing works on the device any more.
            DeviceError: the device refused this once.
        """
        asked = [opened for opened in batch if opened.drawing is None]
        if not asked:
            return [None] * len(batch)
        self._device.use()
        frames = self._runs.run(asked)
        for opened in asked:
            if opened.counted()["not_finite"].any():
                raise EngineFailed(
                    f"model '{self.model.manifest.name}' ({self.model.manifest.path}) answered "
                    f"values that are not numbers"
                )
        self._streams.succeeded(frames)
        return [None] * len(batch)

    def run_tensors(self, batch: list[NDArray[np.float32] | PreparedTensor]) -> NDArray[np.float32]:
        """See `server.pipeline.Pipeline`; raises as `run`. Answers that go to device memory are
        there, and undefined here.
        """
        self._device.use()
        return self._runs.run_tensors(batch)

    def close(self, opened: DeviceOpened, answer: None, options: Options) -> Outcome:
        """The result, encoded out of the slot's page-locked memory; where it was to go to a
        caller's device memory it is there.
        """
        outcome = self._outcome(opened, options)
        if opened.target is None or opened.is_finished_there:
            return outcome
        assert isinstance(outcome.encoded, Encoded)
        self._device.use()
        sent = self._callers.send(opened.slot, outcome.encoded, opened.target)
        return replace(outcome, encoded=sent, copies=opened.slot.copies)

    def _outcome(self, opened: DeviceOpened, options: Options) -> Outcome:
        if opened.drawing is not None:
            assert opened.decoded is not None
            return close_found(opened.decoded, opened.drawing, options, self.limits, opened.check)
        started = perf_counter()
        statistics = read_statistics(opened.counted(), opened.width, opened.height)
        host, _ = opened.slot.output(opened.wanted.nbytes)
        channels = opened.wanted.output.channels
        shape = (opened.height, opened.width, channels)
        pixels = host[HEADER_BYTES:].reshape(shape if channels > 1 else shape[:2])
        alpha_u8 = pixels  # read for ZIP alone, where it is the alpha that came down
        edges = opened.wanted.edges
        if edges is not None:
            statistics = device_edges.statistics_of(host, opened.width, opened.height)
        if opened.wanted.on_host is not None:
            # Since it was opened its wish for a subject has found somebody to ask.
            asked = replace(opened.wanted.on_host, options=options)
            return self._close_on_host(opened, alpha_u8, asked, started)
        if options.format is Format.ZIP:
            pixels, _ = opened.on_host()
        decoded = opened.decoded
        finished_at = perf_counter()
        encoded: Packed
        if opened.target is not None:
            encoded = Encoded(None, b"", opened.width, opened.height, _RAW_FORMATS[channels])
        else:
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
            refine=edges.refine if edges else Refine.OFF,
            decontaminate=edges.decontaminate if edges else 0.0,
        )

    def _close_on_host(
        self, opened: DeviceOpened, alpha_u8: NDArray[np.uint8], wanted: Plan, started: float
    ) -> Outcome:
        """The result of an alpha that came down, finished as on a machine without a GPU."""
        rgb, own_alpha = opened.on_host()
        finished = finish_on_host(
            rgb,
            alpha_u8,
            own_alpha,
            wanted,
            cell_px=self.model.cell_px(opened.width, opened.height),
            check=opened.check,
            limits=self.limits,
        )
        decoded = opened.decoded
        finished_at = perf_counter()
        encoded = encode_result(
            finished.pixels,
            finished.alpha_u8,
            wanted.options,
            icc=decoded.icc if decoded else None,
            dpi=decoded.dpi if decoded else None,
        )
        return Outcome(
            encoded=encoded,
            statistics=finished.statistics,
            finish_ms=(finished_at - started) * 1e3,
            encode_ms=(perf_counter() - finished_at) * 1e3,
            copies=opened.slot.copies,
            refine=finished.refine,
            decontaminate=finished.decontaminate,
            notes=finished.notes,
            shown=finished.shown,
        )

    def free(self) -> None:
        """Waits for the copies under way; the pipeline is not used any more."""
        try:
            self._device.use()
            mine = (self._intake.stream, self._callers.stream, self._uploads)
            for stream in (*mine, self._runs.downloads):
                self._device.synchronize(stream)
        finally:
            self._runs.forget()
            self._streams.forget()
            self._slots.trim()
