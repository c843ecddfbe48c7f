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
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mattestream.errors import (
    BadImage,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    MattestreamError,
    ServerError,
    Unavailable,
)
from mattestream.shared_region import Region, check_prefix, check_room, sweep
from mattestream.v1 import image_pb2, options_pb2
from mattestream.values import choose, whole

PixelFormatName = Literal["rgb", "bgr", "rgba", "gray", "nv12", "i420"]
SharedOutputName = Literal["alpha", "cutout", "composite"]

DEFAULT_PREFIX = "mattestream-"
DEFAULT_COUNT = 6  # a stream's default window of 4, one being filled, one being looked at
_FEWEST = 2  # a loop still holds its last result when it asks for the next
_MAX_SIDE_PX = 65535
_MAX_FRAMES = 1024
_MODES = 0o777

# Name: on the wire, and bytes of a row's pixel (of luma) where there is one plane.
_FORMATS: Mapping[str, tuple[image_pb2.PixelFormat.ValueType, int]] = {
    "rgb": (image_pb2.PIXEL_FORMAT_RGB8, 3),
    "bgr": (image_pb2.PIXEL_FORMAT_BGR8, 3),
    "rgba": (image_pb2.PIXEL_FORMAT_RGBA8, 4),
    "gray": (image_pb2.PIXEL_FORMAT_GRAY8, 1),
    "nv12": (image_pb2.PIXEL_FORMAT_NV12, 0),
    "i420": (image_pb2.PIXEL_FORMAT_I420, 0),
}
# Name: on the wire, and most channels that it can have.
_OUTPUTS: Mapping[str, tuple[options_pb2.Output.ValueType, int]] = {
    "alpha": (options_pb2.OUTPUT_ALPHA, 1),
    "cutout": (options_pb2.OUTPUT_CUTOUT, 4),
    "composite": (options_pb2.OUTPUT_COMPOSITE, 4),
}
_CHANNELS = {
    image_pb2.PIXEL_FORMAT_GRAY8: 1,
    image_pb2.PIXEL_FORMAT_RGB8: 3,
    image_pb2.PIXEL_FORMAT_RGBA8: 4,
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
        self._format, samples = choose("pixels", pixels, _FORMATS)
        if not samples and (width % 2 or height % 2):
            raise InvalidRequest(f"frames of {pixels} are {width}x{height}: give even sides")
        rows = self.height if samples else self.height * 3 // 2
        # As OpenCV has them: planes below each other.
        self._shape = (rows, self.width) if samples < 2 else (rows, self.width, samples)
        self.output = output
        self._output, channels = options_pb2.OUTPUT_UNSPECIFIED, 0
        if output is not None:
            self._output, channels = choose("output", output, _OUTPUTS)
        self._image_bytes = int(np.prod(self._shape))
        self._result_bytes = self.width * self.height * channels
        self._prefix = check_prefix(prefix)
        self._mode = whole("mode", mode, 0, _MODES, "as of a file, 0o600 for instance")
        # Filled by finalizers, which may run in the middle of anything: SimpleQueue allows that.
        self._free: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        self._slots: list[_Slot] = []
        self._is_open = False

    def __enter__(self) -> Self:
        """Makes the memory, and removes what a killed process left under the prefix.

        Raises:
            MattestreamError: there is not enough room for it.
        """
        sweep(self._prefix)
        check_room(self.count * (self._image_bytes + self._result_bytes))
        try:
            for _ in range(self.count):
                self._slots.append(_Slot(self._new_region()))
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
        return SharedFrame(self, _Lease(slot, slot.region, self._free))

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
        return Region(self._prefix, self._image_bytes + self._result_bytes, self._mode)

    def _layout(self) -> image_pb2.PixelLayout:
        return image_pb2.PixelLayout(format=self._format, width=self.width, height=self.height)


class SharedFrame:
    """One frame of a ring: fill `image`, then give it to `remove` or `remove_stream`."""

    def __init__(self, ring: SharedFrames, lease: _Lease) -> None:
        self._ring = ring
        self._lease = lease

    @property
    def image(self) -> NDArray[np.uint8]:
        """The pixels, writable: (H, W, 3) or (H, W, 4); (H, W) for "gray"; (H * 3 / 2, W) for
        "nv12" and "i420".
        """
        return self._lease.view(0, self._ring._shape)

    def put(self, image: NDArray[np.uint8]) -> None:
        """Copies `image` in.

        Raises:
            BadImage: it has another type or shape.
        """
        wanted = self._ring._shape
        if getattr(image, "dtype", None) != np.uint8 or image.shape != wanted:
            seen = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
            raise BadImage(f"the image is {seen}, the ring's frames are uint8 {wanted}: give those")
        np.copyto(self.image, image)

    # The rest is for the clients.

    def message(self) -> image_pb2.Image:
        """Where the pixels lie, as a request says it."""
        message = image_pb2.Image()
        shared = message.shared_memory
        shared.range.name = self._lease.region.name
        shared.range.byte_size = self._ring._image_bytes
        shared.layout.CopyFrom(self._ring._layout())
        return message

    def target(self) -> image_pb2.SharedMemoryRange | None:
        """Where the result goes; None: into the answer."""
        if not self._ring._result_bytes:
            return None
        return image_pb2.SharedMemoryRange(
            name=self._lease.region.name,
            offset=self._ring._image_bytes,
            byte_size=self._ring._result_bytes,
        )

    def ask(self, options: options_pb2.RemoveOptions) -> None:
        """Completes the options of a single request, unless it asks for a file."""
        target = self.target()
        if target is None or options.format not in (
            options_pb2.FORMAT_UNSPECIFIED,
            options_pb2.FORMAT_RAW,
        ):
            return
        if options.output == options_pb2.OUTPUT_UNSPECIFIED:
            options.output = self._ring._output
        options.format = options_pb2.FORMAT_RAW
        options.shared_memory_output.CopyFrom(target)

    def sent(self) -> None:
        """A request is on its way: until it is answered the server may write at any time.

        Raises:
            InvalidRequest: one is already, or was given up.
        """
        if self._lease.is_unsure:
            raise InvalidRequest(
                "this frame is on its way already, or its last request was given up and may still "
                "be written to: take another frame"
            )
        self._lease.is_unsure = True

    def answered(self) -> None:
        """The server is done with the frame."""
        self._lease.is_unsure = False

    def pixels(self, shared: image_pb2.SharedMemoryImage) -> NDArray[np.uint8]:
        """The result, (H, W), (H, W, 3) or (H, W, 4), where the server put it.

        Raises:
            ServerError: the answer names another place.
        """
        layout, span, ring = shared.layout, shared.range, self._ring
        channels = _CHANNELS.get(layout.format, 0)
        nbytes = layout.width * layout.height * channels
        if (
            span.name != self._lease.region.name
            or span.offset != ring._image_bytes
            or not 0 < nbytes == span.byte_size <= ring._result_bytes
        ):
            raise ServerError(
                f"the server says its result is {nbytes} bytes at {span.name!r} + {span.offset}, "
                f"which is not the place that it was given"
            )
        shape = (layout.height, layout.width, channels)
        return self._lease.view(span.offset, shape if channels > 1 else shape[:2])


def shared_of(image: object) -> SharedFrame | None:
    """`image` when it is a frame of a ring."""
    return image if isinstance(image, SharedFrame) else None


@contextmanager
def in_flight(frame: SharedFrame | None) -> Iterator[None]:
    """A block in which a single request for `frame` is under way.

    Raises:
        InvalidRequest: another request for it was given up, and may still be written to.
    """
    if frame is None:
        yield
        return
    frame.sent()
    try:
        yield
    except (DeadlineExceeded, Cancelled, Unavailable):
        raise  # the server may not know yet that nobody waits
    except MattestreamError:
        frame.answered()
        raise
    frame.answered()


class _Slot:
    """A place in the ring."""

    def __init__(self, region: Region) -> None:
        self.region: Region | None = region  # None: the ring is closed
        self.is_spoilt = False  # nobody knows whether the server still writes to it


class _Lease:
    """The right to a slot's memory; with the last reference to it the slot is free."""

    def __init__(self, slot: _Slot, region: Region, free: queue.SimpleQueue[_Slot | None]) -> None:
        self.region = region
        self._state = {"unsure": False}
        weakref.finalize(self, _give_back, slot, free, self._state).atexit = False

    @property
    def is_unsure(self) -> bool:
        return self._state["unsure"]

    @is_unsure.setter
    def is_unsure(self, value: bool) -> None:
        self._state["unsure"] = value

    def view(self, offset: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array of the memory that keeps this lease."""
        return np.asarray(_View(self, offset, shape))


class _View:
    """What NumPy makes an array of; arrays and views of them refer to it."""

    def __init__(self, lease: _Lease, offset: int, shape: tuple[int, ...]) -> None:
        self._lease = lease
        self._memory = np.frombuffer(lease.region.memory, np.uint8)
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": "|u1",
            "shape": shape,
            "data": (self._memory.ctypes.data + offset, False),
        }


def _give_back(slot: _Slot, free: queue.SimpleQueue[_Slot | None], state: dict[str, bool]) -> None:
    slot.is_spoilt = state["unsure"]
    free.put(slot)
