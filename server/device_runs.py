"""Batches on one GPU: queued one after the other, waited for, and told apart from a lost device.

The computing half of `server.device_pipeline`. Two batches may be in flight, so that one is queued
while the other computes; results come down on a stream of their own.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kernels.cuda import finish
from kernels.device import DeviceError, DeviceLost
from kernels.image import job_struct
from kernels.letterbox import place
from kernels.transfer import to_host
from models.device_batch import DTYPES, DeviceBatch
from models.device_model import DeviceModel
from models.prepared_tensor import PreparedTensor
from server import device_edges
from server.device_image import DeviceOpened
from server.device_sharing import CallersMemory
from server.device_streams import DeviceStreams, Frames


class DeviceRuns:
    """Runs of one model on one GPU.

    Args:
        model: loaded and warm.
        streams: what recurrent models keep of each stream.
        callers: device memory of callers, into which a result may go.
        on_launch: told of every run whether it was the replay of a graph.
        on_lost: told when the device does nothing any more; from the thread that found out.
    """

    def __init__(
        self,
        model: DeviceModel,
        streams: DeviceStreams,
        callers: CallersMemory,
        *,
        on_launch: Callable[[bool], None],
        on_lost: Callable[[DeviceError], None],
    ) -> None:
        self.model = model
        self.downloads = model.device.new_stream()
        self._device = model.device
        self._streams = streams
        self._callers = callers
        self._on_launch = on_launch
        self._on_lost = on_lost
        self._launching = threading.Lock()
        self._batches = deque(model.batches)
        self._turns = threading.Semaphore(len(model.batches))

    def run(self, batch: list[DeviceOpened]) -> Frames:
        """Computes results and brings them down into their slots; see `DevicePipeline.run`."""
        with self._watched(), self._turns:
            frames = self._streams.frames(batch)
            self._compute(batch, frames)
        return frames

    def run_tensors(self, batch: list[NDArray[np.float32] | PreparedTensor]) -> NDArray[np.float32]:
        """The answers to tensors that came prepared; see `server.pipeline.Pipeline`."""
        prepared = [
            each if isinstance(each, PreparedTensor) else PreparedTensor(each) for each in batch
        ]
        device, stream = self._device, self.model.stream
        with self._watched(), self._turns:
            with self._launching:
                buffers = self._batches.popleft()
                try:
                    came, answer = buffers.enqueue_tensors(prepared, stream)
                    done = device.new_event()
                    device.record(done, stream)
                except BaseException:
                    with contextlib.suppress(DeviceError):
                        device.synchronize(stream)
                    self._batches.append(buffers)
                    raise
            try:
                device.synchronize(done)
            finally:
                self._batches.append(buffers)
        del came  # not before the copy out of it is done
        spec = self.model.engine.output
        raw = answer.array.view(DTYPES[spec.element]).reshape(len(batch), *spec.shape)
        copied: NDArray[np.float32] = raw.astype(np.float32)  # page-locked memory goes back
        return copied

    def forget(self) -> None:
        """Lets go of the batches' memory; nothing runs any more."""
        self._batches.clear()

    def _compute(self, batch: list[DeviceOpened], frames: Frames) -> None:
        """Launches everything for a batch and waits for its results."""
        with self._launching:
            buffers = self._batches.popleft()
            try:
                self._launch(batch, frames, buffers)
            except BaseException:
                # Nothing of what was queued before the mistake may run into the next batch.
                with contextlib.suppress(DeviceError):  # the first error is the one to tell
                    self._device.synchronize(self.model.stream)
                    self._device.synchronize(self.downloads)
                self._batches.append(buffers)
                raise
        try:
            for opened in batch:
                self._device.synchronize(opened.slot.downloaded)
        finally:
            self._batches.append(buffers)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """A block whose errors show whether the device is lost."""
        try:
            yield
        except DeviceError as error:
            if isinstance(error, DeviceLost) or not self._answers():
                self._streams.forget()
                self._on_lost(error)
                raise DeviceLost(f"{self._device.name} is lost: {error}") from error
            raise

    def _answers(self) -> bool:
        """False when the device does nothing any more: after some errors every call repeats it."""
        try:
            self._device.synchronize(self.model.stream)
        except DeviceError:
            return False
        return True

    def _launch(self, batch: list[DeviceOpened], frames: Frames, buffers: DeviceBatch) -> None:
        """Queues everything for a batch; nothing is waited for."""
        device, model, stream = self._device, self.model, self.model.stream
        plane = model.manifest.input
        fit = model.manifest.fit
        jobs = []
        for opened in batch:
            device.wait_for(stream, opened.slot.uploaded)
            size = (opened.width, opened.height)
            jobs.append(job_struct(opened.image, place(size, (plane.width, plane.height), fit)))
        self._on_launch(buffers.enqueue(np.concatenate(jobs), stream, frames))
        alpha_wh = (model.alpha_width, model.alpha_height)
        for lane, opened in enumerate(batch):
            slot = opened.slot
            host, address = slot.output(opened.wanted.nbytes)
            size = (opened.width, opened.height)
            last_pass: Callable[..., None] = finish.finish
            if opened.wanted.edges is not None:
                cell_px = model.cell_px(*size)
                scratch = slot.reserve_scratch(device_edges.scratch_bytes(*size, cell_px))
                last_pass = partial(device_edges.queue, wanted=opened.wanted.edges, scratch=scratch)
            last_pass(
                device,
                stream,
                image=opened.image,
                alpha=buffers.alpha(lane),
                plane_wh=alpha_wh,
                at=place(size, alpha_wh, fit),
                flags=buffers.flags(lane),
                target=address,
                output=opened.wanted.output,
                color=opened.wanted.color,
            )
            device.record(slot.finished, stream)
            device.wait_for(self.downloads, slot.finished)
            if opened.target is None or not opened.is_finished_there:
                to_host(device, address, host, self.downloads, slot.copies)
            else:
                self._callers.deliver(slot, opened.wanted.nbytes, opened.target, self.downloads)
            device.record(slot.downloaded, self.downloads)
