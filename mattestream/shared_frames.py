"""Frames in shared memory: a ring of them that is filled, sent, answered and used again, without a
pixel in a message.

    with Client("unix:/run/mattestream.sock") as client, SharedFrames(1920, 1080) as ring:
        for result in client.remove_stream(ring.fill(pictures)):
            result.array()  # (1080, 1920), where the server wrote it

The server must run on this machine and allow the prefix (`--shared-memory`). A frame is free again
when nothing refers to it any more: not the caller's `SharedFrame`, not an array of its pixels, not
a request that waits for its answer. Whoever keeps results keeps their frames: copy what is to stay.
Used by both clients; needs NumPy and the standard library only.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from mattestream.errors import DeadlineExceeded, InvalidRequest
from mattestream.pixels import PIXEL_FORMATS, PixelFormatName
from mattestream.shared_frame import FreeSlots, Layout, SharedFrame, Slot
from mattestream.shared_region import Region, check_prefix, check_room, sweep
from mattestream.v1 import options_pb2
from mattestream.values import choose, whole

SharedOutputName = Literal["alpha", "cutout", "composite"]

DEFAULT_PREFIX = "mattestream-"
DEFAULT_COUNT = 6  # a stream's default window of 4, one being filled, one being looked at
_FEWEST = 2  # a loop still holds its last result when it asks for the next
_MAX_SIDE_PX = 65535
_MAX_FRAMES = 1024
_MODES = 0o777

# Name: on the wire, and most channels that it can have.
_OUTPUTS: Mapping[str, tuple[options_pb2.Output.ValueType, int]] = {
    "alpha": (options_pb2.OUTPUT_ALPHA, 1),
    "cutout": (options_pb2.OUTPUT_CUTOUT, 4),
    "composite": (options_pb2.OUTPUT_COMPOSITE, 4),
}


class SharedFrames:
    """A ring of frames of one size. May be used from several threads.

    Args:
        width: columns of every frame in pixels.
        height: rows.
        count: frames that may be filled, on their way or looked at, all together; 2 or more.
        pixels: how their samples are laid out; "nv12" and "i420" need even sides.
        output: what requests ask for, so that its pixels have room; None: results come in messages.
        prefix: one that the server was started with.
        mode: who may open the memory, as of a file: the server's user must be able to.

    Raises:
        InvalidRequest, MattestreamError: a value makes no sense.
    """

    def __init__(
        self,
        width: int,
        height: int,
        count: int = DEFAULT_COUNT,
        *,
        pixels: PixelFormatName = "rgb",
        output: SharedOutputName | None = "alpha",
        prefix: str = DEFAULT_PREFIX,
        mode: int = 0o600,
    ) -> None:
        allowed = f"from 1 to {_MAX_SIDE_PX}"
        self.width = whole("width", width, 1, _MAX_SIDE_PX, allowed)
        self.height = whole("height", height, 1, _MAX_SIDE_PX, allowed)
        self.count = whole("count", count, _FEWEST, _MAX_FRAMES, f"from 2 to {_MAX_FRAMES}")
        found = choose("pixels", pixels, PIXEL_FORMATS)
        if not found.samples and (width % 2 or height % 2):
            raise InvalidRequest(f"frames of {pixels} are {width}x{height}: give even sides")
        shape = found.shape(self.width, self.height)
        made, channels = options_pb2.OUTPUT_UNSPECIFIED, 0
        if output is not None:
            made, channels = choose("output", output, _OUTPUTS)
        room = self.width * self.height * channels
        self._layout = Layout(found.wire, self.width, self.height, shape, made, room)
        self._prefix = check_prefix(prefix)
        self._mode = whole("mode", mode, 0, _MODES, "as of a file, 0o600 for instance")
        self._free: FreeSlots = queue.SimpleQueue()
        self._slots: list[Slot] = []
        self._is_open = False

    def __enter__(self) -> Self:
        """Makes the memory, and removes what a killed process left under the prefix.

        Raises:
            MattestreamError: there is not enough room for it.
        """
        sweep(self._prefix)
        check_room(self.count * self._frame_bytes)
        try:
            for _ in range(self.count):
                self._slots.append(Slot(self._new_region()))
        except BaseException:
            self.close()
            raise
        self._is_open = True
        for slot in self._slots:
            self._free.put(slot)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Takes the names away. Arrays that are still held stay what they are."""
        self._is_open = False
        for slot in self._slots:
            if slot.region is not None:
                slot.region.unlink()
                slot.region = None  # arrays that are held have it from their lease
        self._slots.clear()
        self._free.put(None)  # wakes one that waits, which wakes the next

    @property
    def free(self) -> int:
        """Frames that `take` would give at once."""
        return self._free.qsize() if self._is_open else 0

    def take(self, timeout_s: float | None = 30.0) -> SharedFrame:
        """A free frame, to be filled; waits for one.

        Raises:
            DeadlineExceeded: none became free in time.
            InvalidRequest: the ring is not open.
            MattestreamError: a frame had to be made anew, and there is no room.
        """
        try:
            slot = self._free.get(timeout=timeout_s) if self._is_open else None
        except queue.Empty:
            raise DeadlineExceeded(
                f"none of the {self.count} frames became free within {timeout_s:g} s: each is held "
                "by its array, its result or a request that is not answered; copy results that you "
                "keep, or make more frames"
            ) from None
        if slot is None or slot.region is None:
            self._free.put(None)
            raise InvalidRequest("the ring of frames is not open: use it within its `with` block")
        try:
            if slot.is_spoilt:
                # A request that was given up may still be written to: new memory, a new name.
                old, slot.region = slot.region, self._new_region()
                old.unlink()
                slot.is_spoilt = False
        except BaseException:
            self._free.put(slot)
            raise
        return SharedFrame(self._layout, slot, self._free)

    async def take_async(self, timeout_s: float | None = 30.0) -> SharedFrame:
        """As `take`, while the event loop runs on."""
        if self.free:
            return self.take(0)
        return await asyncio.to_thread(self.take, timeout_s)

    def fill(
        self, images: Iterable[NDArray[np.uint8]], timeout_s: float | None = 30.0
    ) -> Iterator[SharedFrame]:
        """Each of `images` copied into a frame, for `remove_stream` of either client.

        Raises:
            BadImage: an image has another type or shape than the frames.
            DeadlineExceeded: see `take`.
        """
        for image in images:
            frame = self.take(timeout_s)
            frame.put(image)
            yield frame
            del frame  # while the next image is made, it must not keep this one

    def _new_region(self) -> Region:
        return Region(self._prefix, self._frame_bytes, self._mode)

    @property
    def _frame_bytes(self) -> int:
        return self._layout.image_bytes + self._layout.result_bytes
