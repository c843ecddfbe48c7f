"""Batches under way: one after the other, their pictures side by side, behind everyone who waits.

Made by `server.gateway.http_door`; `server.gateway.batch_api` is its face. What must survive lies
in `server.gateway.batch_store`: a batch that a restart has cut goes on where its journal ends.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import structlog
from google.protobuf import json_format

from kernels.device import DeviceFull
from mattestream.v1 import options_pb2
from server.admission import Overloaded
from server.calls import open_call
from server.errors import forget_frames, status_of
from server.fair_queue import Priority
from server.gateway.batch_store import Batch, BatchStore
from server.gateway.door import Door, Removed
from server.gateway.errors import HttpRefused, TooMany
from server.gateway.pictures import size_of
from server.gateway.rates import Rates
from server.model_host import ModelLoading
from server.shutdown import ShuttingDown
from server.workers import settled

SWEEP_EVERY_S = 60.0
BUSY_S = 1.0  # until a picture that found no room tries again
AGAIN_S = 30.0  # until a batch that the disk has interrupted is taken up again


class NoSpace(HttpRefused):
    """The disk that batches may take is full."""

    status, code = 507, "RESOURCE_EXHAUSTED"


class Batches:
    """Takes batches, works on them, keeps and forgets them.

    Args:
        store: where they lie.
        door: does the work.
        rates: paces a batch as its caller's limit does.
        max_disk_bytes: of all batches together.
        keep_s: age at which one is deleted.
        at_once: pictures of a batch in work.
        wall_clock: seconds since 1970.
    """

    def __init__(
        self,
        store: BatchStore,
        door: Door,
        rates: Rates,
        *,
        max_disk_bytes: int,
        max_images: int,
        keep_s: float,
        at_once: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.max_images = max_images
        self.keep_s = keep_s
        self.wall_clock = wall_clock
        self._door = door
        self._rates = rates
        self._max_disk_bytes = max_disk_bytes
        self._at_once = at_once
        self._batches: dict[str, Batch] = {}
        self._uploading_bytes = 0
        self._counting = threading.Lock()  # archives are unpacked in threads
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._working: dict[str, asyncio.Task[None]] = {}
        self._log = structlog.get_logger("server")

    async def start(self) -> None:
        """Takes up what lies on disk.

        Raises:
            FolderInUse: another server has the folder.
        """
        for batch in await asyncio.to_thread(self.store.open):
            self._batches[batch.id] = batch
            if not batch.has_results:
                self._queue.put_nowait(batch.id)
        await self.sweep()
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._sweeping())]

    async def stop(self) -> None:
        """Stops working; what is not done lies there for the next start."""
        tasks = [*self._tasks, *self._working.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tasks = []
        self.store.close()

    @property
    def disk_bytes(self) -> int:
        """What all batches take, uploads under way included."""
        return self._uploading_bytes + sum(each.disk_bytes for each in list(self._batches.values()))

    def reserve(self, count: int) -> None:
        """Takes `count` bytes of the disk for an upload; `unreserve` gives them back.

        Raises:
            NoSpace: there are not as many left.
        """
        with self._counting:
            if self.disk_bytes + count > self._max_disk_bytes:
                raise NoSpace(
                    f"batches take {self.disk_bytes >> 20} of the {self._max_disk_bytes >> 20} MiB "
                    "that they may: delete finished ones, or start with a larger --batch-disk-mb"
                )
            self._uploading_bytes += count

    def unreserve(self, count: int) -> None:
        """The upload is over."""
        with self._counting:
            self._uploading_bytes -= count

    async def submit(self, batch: Batch) -> None:
        """Takes a batch whose pictures lie on disk."""
        await asyncio.to_thread(self.store.commit, batch)
        self._batches[batch.id] = batch
        self._queue.put_nowait(batch.id)

    def find(self, batch_id: str, owner: str) -> Batch | None:
        """The batch, when it is the caller's."""
        batch = self._batches.get(batch_id)
        return batch if batch is not None and batch.owner == owner else None

    def of(self, owner: str) -> list[Batch]:
        """The caller's batches, oldest first."""
        return sorted(
            (each for each in self._batches.values() if each.owner == owner),
            key=lambda each: each.created_at,
        )

    def state(self, batch: Batch) -> str:
        """One of "waiting", "running", "done"."""
        if batch.has_results:
            return "done"
        return "running" if batch.id in self._working else "waiting"

    async def delete(self, batch: Batch) -> None:
        """Ends the work on it and takes it from the disk."""
        self._batches.pop(batch.id, None)
        task = self._working.get(batch.id)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await asyncio.to_thread(self.store.delete, batch.id)

    async def sweep(self) -> None:
        """Deletes what is too old."""
        now = self.wall_clock()
        for batch in list(self._batches.values()):
            if now - batch.created_at >= self.keep_s:
                self._log.info("batch deleted", batch=batch.id, images=len(batch.names))
                await self.delete(batch)

    async def _sweeping(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_EVERY_S, self.keep_s))
            await self.sweep()

    async def _work(self) -> None:
        while True:
            batch = self._batches.get(await self._queue.get())
            if batch is None:
                continue  # deleted while it waited
            task = self._working[batch.id] = asyncio.create_task(self._run(batch))
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
                self._working.pop(batch.id, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._log.error("batch interrupted", batch=batch.id, exc_info=error)
                forget_frames(error)
                # The disk is full, or gone: nothing is lost, and it goes on when that is mended.
                loop = asyncio.get_running_loop()
                loop.call_later(AGAIN_S, self._queue.put_nowait, batch.id)

    async def _run(self, batch: Batch) -> None:
        # Each its own call: the logs tell them apart, and they share one turn where they wait.
        call = open_call("batch", (("x-request-id", batch.id),))
        call.caller = batch.owner or f"batch {batch.id}"
        call.priority = Priority.LOW
        options = json_format.ParseDict(batch.options, options_pb2.RemoveOptions())
        places = iter(batch.open_places)

        async def worker() -> None:
            for place in places:
                await self._one(batch, place, options)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(worker())
        batch.disk_bytes = await asyncio.to_thread(self.store.pack, batch)
        batch.has_results = True
        self._log.info(
            "batch done", batch=batch.id, images=len(batch.names), failed=len(batch.failed)
        )

    async def _one(self, batch: Batch, place: int, options: options_pb2.RemoveOptions) -> None:
        """One picture; whatever is wrong with it is one line of the journal."""
        data, media_type, why = None, "", None
        try:
            source = await asyncio.to_thread(self.store.source(batch.id, place).read_bytes)
            await self._pace(batch.owner, source)
            with await self._removed(source, options) as removed:
                data = removed.result.encoded.data
                media_type = removed.result.encoded.media_type
            self.reserve(len(data))
            self.unreserve(len(data))
        except (ShuttingDown, asyncio.CancelledError):
            raise
        except Exception as error:  # the picture's own
            status = status_of(error, f"{batch.id}/{place}")
            why = str(error) if isinstance(error, HttpRefused) else status.message
            if status.is_internal and not isinstance(error, HttpRefused):
                self._log.error("internal error", request_id=f"{batch.id}/{place}", exc_info=error)
            data = None
            forget_frames(error)
        # Not to be cut between the bytes and the line, and over before the batch may be deleted.
        finishing = asyncio.ensure_future(
            asyncio.to_thread(self.store.finish, batch, place, data, media_type, why)
        )
        try:
            await asyncio.shield(finishing)
        except asyncio.CancelledError:
            await settled(finishing)
            raise
        batch.over[place], batch.media_types[place] = why, media_type
        batch.disk_bytes += len(data or b"")

    async def _pace(self, owner: str, source: bytes) -> None:
        megapixels = (await size_of(source)).megapixels
        is_free = not owner
        while not is_free:
            try:
                self._rates.take(owner, megapixels)
                is_free = True
            except TooMany as error:
                await asyncio.sleep(error.retry_after_s)

    async def _removed(self, source: bytes, options: options_pb2.RemoveOptions) -> Removed:
        """What the door makes of it; when a device is full, a little later."""
        while True:
            try:
                return await self._door.remove(source, options, wait=True)
            except (Overloaded, DeviceFull, ModelLoading):
                await asyncio.sleep(BUSY_S)
