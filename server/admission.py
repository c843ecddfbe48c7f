"""Who may come in: permits by count, by bytes and by time, so that memory stays bounded, refusals
are cheap, and what comes in is done before its deadline.

`server.remover` takes a permit per image before anything is decoded and gives it back when the
answer is out. Single requests are refused at once when there is no room, or when the work that is
outstanding would take longer than they may wait; stream frames wait, first come first served, and
leave a quarter of the room to single requests, so that neither starves the other.
"""

from __future__ import annotations

import asyncio
import bisect
import math
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from server.config import MEBIBYTE
from server.job import Format
from server.service_cost import NO_COST, Cost, Margin

# Peak of decode, composite and encode together, in bytes a pixel: measured as growth of the process
# on 20 MP photos, 6 to 16 for most sources and formats.
BYTES_PER_PIXEL = 16
# Raw answers are copied into the message and again onto the wire; libwebp works in large buffers.
# A tensor of FP32 takes 12 bytes a pixel: as an array, as bytes, in the message and on the wire.
BYTES_PER_PIXEL_OF = {Format.RAW: 20, Format.ZLIB: 20, Format.WEBP: 32, Format.TENSOR: 56}
# Of these, the answer while it waits for its client: most files are smaller.
ANSWER_BYTES_PER_PIXEL = 1
ANSWER_BYTES_PER_PIXEL_OF = {Format.RAW: 4, Format.ZLIB: 4, Format.TENSOR: 12}

STREAM_SHARE = 0.75
FIRST_GUESS_S = 0.05  # service time of an image of unknown cost, for the hint
HINT_RANGE_MS = (20, 30_000)


class Overloaded(Exception):
    """No room now; `retry_after_ms` says when there may be."""

    def __init__(self, message: str, retry_after_ms: int, reason: str) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self.reason = (
            reason  # "requests", "bytes", "time" or "streams": a label of the refusals' metric
        )


class NeverFits(Exception):
    """Larger than all the room there is: waiting would not help."""


@dataclass(slots=True, eq=False)
class _Waiter:
    held: int
    work: int
    cost: Cost
    turn: asyncio.Future[None]


class Permit:
    """Leave for one image to be in memory; a context manager, or `release` it. Releasing twice is
    harmless.
    """

    def __init__(
        self, admission: Admission, held: int, work: int, cost: Cost, *, expected_s: float
    ) -> None:
        self._admission = admission
        self._expected_s = expected_s  # of the image, with its wait; 0: it says nothing
        self._admitted_at = admission.clock()
        self._images = 1
        self._held = held
        self._work = work
        self._cost = cost

    def shrink(self, answer_bytes: int) -> None:
        """The image is finished: from here on only its answer takes room, and no slot."""
        self._note(is_done=True)
        held = min(answer_bytes, self._held + self._work)
        self._admission.give_back(self._images, self._held - held, self._work, self._cost)
        self._images, self._held, self._work, self._cost = 0, held, 0, NO_COST

    def release(self) -> None:
        """The answer is out, or there is none."""
        self._note(is_done=False)
        self._admission.give_back(self._images, self._held, self._work, self._cost)
        self._images, self._held, self._work, self._cost = 0, 0, 0, NO_COST

    def _note(self, *, is_done: bool) -> None:
        if self._images and self._expected_s:
            took_s = self._admission.clock() - self._admitted_at
            self._admission.margin.note(self._expected_s, took_s, is_done=is_done)

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Admission:
    """The room and who is in it; lives on the event loop.

    Args:
        max_requests: images in at once.
        max_bytes: memory they may take, by estimate.
        threads: workers that serve them.
        devices: accelerators that run their networks; 1 where there is none.
        jitter: a factor in [0, 1) per hint, so that refused callers do not come back in one wave.
        clock: seconds.
    """

    def __init__(
        self,
        max_requests: int,
        max_bytes: int,
        *,
        threads: int = 1,
        devices: int = 1,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.images = 0
        self._held = 0  # bytes
        self._work: list[int] = []  # bytes of each image, ascending; none of 0
        self._threads = threads
        self._devices = devices
        self._jitter = jitter
        self._worker_s = self._device_s = 0.0  # outstanding
        self.clock = clock
        self.margin = Margin()
        self._waiting: deque[_Waiter] = deque()
        self._stream_requests = max(1, int(max_requests * STREAM_SHARE))
        self._stream_bytes = int(max_bytes * STREAM_SHARE)

    @property
    def bytes(self) -> int:
        """Memory that those who are in may take: what each holds while it waits, and what the
        largest take that can be worked on at once.
        """
        return self._held + sum(self._work[-self._threads :])

    @property
    def waiting(self) -> int:
        """Stream frames that wait for room."""
        return sum(not waiter.turn.done() for waiter in self._waiting)

    @property
    def backlog_s(self) -> float:
        """Seconds until all that is in will be out, by what it is expected to cost."""
        return max(self._worker_s / self._threads, self._device_s / self._devices)

    def check_room(self, remaining_s: float = math.inf, least: Cost = NO_COST) -> None:
        """Nothing where an image may come in that needs no memory and the least work: asked before
        an image is even read.

        Args:
            remaining_s: until the caller's deadline.
            least: work that it will be at least, by estimate.

        Raises:
            Overloaded: there is no room.
        """
        if self.images >= self.max_requests:
            raise Overloaded(
                f"the server is full: {self.images} images are in work or waiting, it takes up to "
                f"{self.max_requests}",
                self.retry_after_ms(),
                "requests",
            )
        self._check_time(least, remaining_s)

    def try_admit(
        self,
        held: int,
        cost: Cost = NO_COST,
        remaining_s: float = math.inf,
        *,
        work: int = 0,
    ) -> Permit:
        """A permit now.

        Args:
            held: bytes that the image takes from now on until its answer is out, by estimate.
            cost: work that it will be, by estimate.
            remaining_s: until its deadline.
            work: bytes that it takes besides while a worker has it, who has one at a time: of all
                that are in, only as many take theirs as there are workers.

        Raises:
            Overloaded: there is no room, or not the time.
            NeverFits: there never will be room.
        """
        self._check_fits(held + work)
        self.check_room()
        if self._bytes_with(held, work) > self.max_bytes:
            raise Overloaded(
                f"the server's memory for images is full: {_mib(self.bytes)} of "
                f"{_mib(self.max_bytes)} are taken, "
                f"this image needs {_mib(held + work)}",
                self.retry_after_ms(),
                "bytes",
            )
        self._check_time(cost, remaining_s)
        return self._grant(held, work, cost)

    async def admit(self, held: int, cost: Cost = NO_COST, *, work: int = 0) -> Permit:
        """A permit when its turn has come.

        Raises:
            NeverFits: it would never come.
        """
        self._check_fits(held + work)
        if not self._waiting and self._has_stream_room(held, work):
            return self._grant(held, work, cost)
        waiter = _Waiter(held, work, cost, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.give_back(1, held, work, cost)  # the turn came in the same moment
            else:
                self._waiting.remove(waiter)
                self._call_next()
            raise
        return Permit(self, held, work, cost, expected_s=0.0)

    def give_back(self, images: int, held: int, work: int, cost: Cost) -> None:
        """Room for others; called by permits."""
        self.images -= images
        self._held -= held
        if work:
            del self._work[bisect.bisect_left(self._work, work)]
        # Sums of floats drift: with nobody in, nothing is outstanding.
        self._worker_s = max(0.0, self._worker_s - cost.worker_s) if self.images else 0.0
        self._device_s = max(0.0, self._device_s - cost.device_s) if self.images else 0.0
        self._call_next()

    def retry_after_ms(self) -> int:
        """When about half of what is in now will be out, 20 ms to 30 s, spread by a quarter."""
        guess_s = self.images * FIRST_GUESS_S / self._threads
        return self._hint_ms((self.backlog_s or guess_s) / 2)

    def _hint_ms(self, seconds: float) -> int:
        low, high = HINT_RANGE_MS
        return int(min(high, max(low, seconds * 1e3 * (1 + self._jitter() / 4))))

    def _check_time(self, cost: Cost, remaining_s: float) -> None:
        """An idle server takes anything: what it would cost may have been learnt on a bad day, and
        only those that come in teach better.
        """
        needed_s = (self.backlog_s + sum(cost)) * self.margin.value
        if self.images == 0 or needed_s <= remaining_s:
            return
        raise Overloaded(
            f"with {self.backlog_s:.2g} s of work before it this image may take {needed_s:.2g} s, "
            f"its deadline is in {remaining_s:.2g} s: allow more time, or come back later",
            self._hint_ms(needed_s - remaining_s),
            "time",
        )

    def _grant(self, held: int, work: int, cost: Cost) -> Permit:
        # One that waits for nobody says nothing of how waiting goes.
        waits = self.backlog_s >= 2 * sum(cost) > 0
        expected_s = self.backlog_s + sum(cost) if waits else 0.0
        self._count(held, work, cost)
        return Permit(self, held, work, cost, expected_s=expected_s)

    def _bytes_with(self, held: int, work: int) -> int:
        """`bytes` with one more image."""
        busiest = sorted([*self._work[-self._threads :], work])[-self._threads :]
        return self._held + held + sum(busiest)

    def _count(self, held: int, work: int, cost: Cost) -> None:
        self.images += 1
        self._held += held
        if work:
            bisect.insort(self._work, work)
        self._worker_s += cost.worker_s
        self._device_s += cost.device_s

    def _has_stream_room(self, held: int, work: int) -> bool:
        with_it = self._bytes_with(held, work)
        if self.images == 0 and with_it <= self.max_bytes:
            return True  # an image larger than the streams' share goes alone
        return self.images < self._stream_requests and with_it <= self._stream_bytes

    def _call_next(self) -> None:
        while self._waiting:
            waiter = self._waiting[0]
            if not self._has_stream_room(waiter.held, waiter.work):
                return
            self._waiting.popleft()
            if not waiter.turn.done():
                # Counted here, not by the waiter: it runs later, and others may look before.
                self._count(waiter.held, waiter.work, waiter.cost)
                waiter.turn.set_result(None)

    def _check_fits(self, image_bytes: int) -> None:
        if image_bytes > self.max_bytes:
            raise NeverFits(
                f"this image needs about {_mib(image_bytes)} of memory, the server has "
                f"{_mib(self.max_bytes)} for "
                f"images: resize it, or start with --max-inflight-mb {-(-image_bytes // MEBIBYTE)}"
            )


def _mib(size: int) -> str:
    return f"{size / MEBIBYTE:.1f} MiB"
