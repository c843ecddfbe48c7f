"""Who may come in: permits by count and by bytes, so that memory stays bounded and refusals are
cheap.

`server.remover` takes a permit per image before anything is decoded and gives it back when the
answer is out. Single requests are refused at once when there is no room; stream frames wait, first
come first served, and leave a quarter of the room to single requests, so that neither starves the
other.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from server.config import MEBIBYTE
from server.job import Format

# Peak of decode, composite and encode together, in bytes a pixel: measured as growth of the process
# on 20 MP photos, 6 to 16 for most sources and formats.
BYTES_PER_PIXEL = 16
# Raw answers are copied into the message and again onto the wire; libwebp works in large buffers.
BYTES_PER_PIXEL_OF = {Format.RAW: 20, Format.ZLIB: 20, Format.WEBP: 32}

STREAM_SHARE = 0.75
FIRST_GUESS_S = 0.05  # service time assumed until one image was seen
SMOOTHING = 0.1  # weight of the newest service time in the running mean
HINT_RANGE_MS = (20, 30_000)


class Overloaded(Exception):
    """No room now; `retry_after_ms` says when there may be."""

    def __init__(self, message: str, retry_after_ms: int, reason: str) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self.reason = reason  # "requests", "bytes" or "streams": a label of the refusals' metric


class NeverFits(Exception):
    """Larger than all the room there is: waiting would not help."""


@dataclass(slots=True, eq=False)
class _Waiter:
    image_bytes: int
    turn: asyncio.Future[None]


class Permit:
    """Leave for one image to be in memory; a context manager, or `release` it. Releasing twice is
    harmless.
    """

    def __init__(self, admission: Admission, image_bytes: int) -> None:
        self._admission = admission
        self._images = 1
        self._bytes = image_bytes

    def shrink(self, answer_bytes: int) -> None:
        """The image is finished: from here on only its answer takes room, and no slot."""
        answer_bytes = min(answer_bytes, self._bytes)
        self._admission.give_back(self._images, self._bytes - answer_bytes)
        self._images, self._bytes = 0, answer_bytes

    def release(self) -> None:
        """The answer is out, or there is none."""
        self._admission.give_back(self._images, self._bytes)
        self._images = self._bytes = 0

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
        threads: workers that serve them; the hint's divisor.
        jitter: a factor in [0, 1) per hint, so that refused callers do not come back in one wave.
    """

    def __init__(
        self,
        max_requests: int,
        max_bytes: int,
        *,
        threads: int = 1,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.images = 0
        self.bytes = 0
        self._threads = threads
        self._jitter = jitter
        self._service_s = FIRST_GUESS_S
        self._waiting: deque[_Waiter] = deque()
        self._stream_requests = max(1, int(max_requests * STREAM_SHARE))
        self._stream_bytes = int(max_bytes * STREAM_SHARE)

    @property
    def waiting(self) -> int:
        """Stream frames that wait for room."""
        return sum(not waiter.turn.done() for waiter in self._waiting)

    def try_admit(self, image_bytes: int) -> Permit:
        """A permit now.

        Raises:
            Overloaded: there is no room.
            NeverFits: there never will be.
        """
        self._check_fits(image_bytes)
        if self.images >= self.max_requests:
            raise Overloaded(
                f"the server is full: {self.images} images are in work or waiting, it takes up to "
                f"{self.max_requests}",
                self.retry_after_ms(),
                "requests",
            )
        if self.bytes + image_bytes > self.max_bytes:
            raise Overloaded(
                f"the server's memory for images is full: {_mib(self.bytes)} of "
                f"{_mib(self.max_bytes)} are taken, "
                f"this image needs {_mib(image_bytes)}",
                self.retry_after_ms(),
                "bytes",
            )
        return self._grant(image_bytes)

    async def admit(self, image_bytes: int) -> Permit:
        """A permit when its turn has come.

        Raises:
            NeverFits: it would never come.
        """
        self._check_fits(image_bytes)
        if not self._waiting and self._has_stream_room(image_bytes):
            return self._grant(image_bytes)
        waiter = _Waiter(image_bytes, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.give_back(1, image_bytes)  # the turn came in the same moment
            else:
                self._waiting.remove(waiter)
                self._call_next()
            raise
        return Permit(self, image_bytes)

    def give_back(self, images: int, image_bytes: int) -> None:
        """Room for others; called by permits."""
        self.images -= images
        self.bytes -= image_bytes
        self._call_next()

    def note_service(self, seconds: float) -> None:
        """One image took `seconds` of worker time; the hints are made of it."""
        self._service_s += SMOOTHING * (seconds - self._service_s)

    def retry_after_ms(self) -> int:
        """When about half of what is in now will be out, 20 ms to 30 s, spread by a quarter."""
        queue_s = self.images * self._service_s / self._threads / 2
        low, high = HINT_RANGE_MS
        return int(min(high, max(low, queue_s * 1e3 * (1 + self._jitter() / 4))))

    def _grant(self, image_bytes: int) -> Permit:
        self.images += 1
        self.bytes += image_bytes
        return Permit(self, image_bytes)

    def _has_stream_room(self, image_bytes: int) -> bool:
        if self.images == 0 and self.bytes + image_bytes <= self.max_bytes:
            return True  # an image larger than the streams' share goes alone
        return (
            self.images < self._stream_requests and self.bytes + image_bytes <= self._stream_bytes
        )

    def _call_next(self) -> None:
        while self._waiting and self._has_stream_room(self._waiting[0].image_bytes):
            waiter = self._waiting.popleft()
            if not waiter.turn.done():
                # Counted here, not by the waiter: it runs later, and others may look before.
                self.images += 1
                self.bytes += waiter.image_bytes
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
