"""One frame in shared memory: its pixels, where a request says they lie, and who holds it.

Made by `mattestream.shared_frames`, used by `request`, `reply`, `stream` and both clients. A frame
is held by a lease; arrays of its memory refer to the lease, and with the last reference to that the
frame is free.
"""

from __future__ import annotations

import math
import queue
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mattestream.cuda_frame import CudaFrame
from mattestream.errors import (
    BadImage,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    MattestreamError,
    ServerError,
    Unavailable,
)
from mattestream.shared_region import Region
from mattestream.v1 import image_pb2, options_pb2

_KEPT_MESSAGES = 256  # of a few hundred bytes
_CHANNELS = {
    image_pb2.PIXEL_FORMAT_GRAY8: 1,
    image_pb2.PIXEL_FORMAT_RGB8: 3,
    image_pb2.PIXEL_FORMAT_RGBA8: 4,
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What all frames of a ring have in common.

    Attributes:
        shape: of the array of a frame's samples.
        output: what requests ask for; unspecified: results come in messages.
        result_bytes: room for it, behind the samples.
    """

    format: image_pb2.PixelFormat.ValueType
    width: int
    height: int
    shape: tuple[int, ...]
    output: options_pb2.Output.ValueType
    result_bytes: int

    @property
    def image_bytes(self) -> int:
        """Of a frame's samples."""
        return math.prod(self.shape)

    def message(self) -> image_pb2.PixelLayout:
        """As a request says it."""
        return image_pb2.PixelLayout(format=self.format, width=self.width, height=self.height)


class Slot:
    """A place in the ring."""

    def __init__(self, region: Region) -> None:
        self.region: Region | None = region  # None: the ring is closed
        self.is_spoilt = False  # nobody knows whether the server still writes to it


# None wakes those that wait when a ring is closed. Filled by finalizers, which may run in the
# middle of anything: SimpleQueue allows that.
FreeSlots = queue.SimpleQueue[Slot | None]


class SharedFrame:
    """One frame of a ring: fill `image`, then give it to `remove` or `remove_stream`."""

    def __init__(self, layout: Layout, slot: Slot, free: FreeSlots) -> None:
        assert slot.region is not None
        self._layout = layout
        self._lease = _Lease(slot, slot.region, free)

    @property
    def image(self) -> NDArray[np.uint8]:
        """The pixels, writable: (H, W, 3) or (H, W, 4); (H, W) for "gray"; (H * 3 / 2, W) for
        "nv12" and "i420".
        """
        return self._lease.view(0, self._layout.shape)

    def put(self, image: NDArray[np.uint8]) -> None:
        """Copies `image` in.

        Raises:
            BadImage: it has another type or shape.
        """
        wanted = self._layout.shape
        if getattr(image, "dtype", None) != np.uint8 or image.shape != wanted:
            seen = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
            raise BadImage(f"the image is {seen}, the ring's frames are uint8 {wanted}: give those")
        np.copyto(self.image, image)

    # The rest is for the clients.

    def message(self) -> image_pb2.Image:
        """Where the pixels lie, as a request says it; not to be changed."""
        return _source(self._layout, self._lease.region.name)

    def target(self) -> image_pb2.SharedMemoryRange | None:
        """Where the result goes, not to be changed; None: into the answer."""
        return _target(self._layout, self._lease.region.name)

    def ask(self, options: options_pb2.RemoveOptions) -> None:
        """Completes the options of a single request, unless it asks for a file."""
        target = self.target()
        if target is None or options.format not in (
            options_pb2.FORMAT_UNSPECIFIED,
            options_pb2.FORMAT_RAW,
        ):
            return
        if options.output == options_pb2.OUTPUT_UNSPECIFIED:
            options.output = self._layout.output
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
        layout, span, own = shared.layout, shared.range, self._layout
        channels = _CHANNELS.get(layout.format, 0)
        nbytes = layout.width * layout.height * channels
        if (
            span.name != self._lease.region.name
            or span.offset != own.image_bytes
            or not 0 < nbytes == span.byte_size <= own.result_bytes
        ):
            raise ServerError(
                f"the server says its result is {nbytes} bytes at {span.name!r} + {span.offset}, "
                f"which is not the place that it was given"
            )
        shape = (layout.height, layout.width, channels)
        return self._lease.view(span.offset, shape if channels > 1 else shape[:2])


@lru_cache(maxsize=_KEPT_MESSAGES)  # the same for every use of a place in a ring
def _source(layout: Layout, name: str) -> image_pb2.Image:
    """A frame's pixels in the region of that name."""
    span = image_pb2.SharedMemoryRange(name=name, byte_size=layout.image_bytes)
    shared = image_pb2.SharedMemoryImage(range=span, layout=layout.message())
    return image_pb2.Image(shared_memory=shared)


@lru_cache(maxsize=_KEPT_MESSAGES)
def _target(layout: Layout, name: str) -> image_pb2.SharedMemoryRange | None:
    """A result's place in the region of that name, behind the pixels."""
    if not layout.result_bytes:
        return None
    return image_pb2.SharedMemoryRange(
        name=name, offset=layout.image_bytes, byte_size=layout.result_bytes
    )


FrameInPlace = SharedFrame | CudaFrame  # one whose pixels stay where they are


def shared_of(image: object) -> FrameInPlace | None:
    """`image` when it is a frame of a ring, or on a GPU."""
    return image if isinstance(image, FrameInPlace) else None


@contextmanager
def in_flight(frame: FrameInPlace | None) -> Iterator[None]:
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


class _Lease:
    """The right to a slot's memory; with the last reference to it the slot is free."""

    def __init__(self, slot: Slot, region: Region, free: FreeSlots) -> None:
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
        self._lease = lease  # and by it the mapping
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": "|u1",
            "shape": shape,
            "data": (lease.region.address + offset, False),
        }


def _give_back(slot: Slot, free: FreeSlots, state: dict[str, bool]) -> None:
    slot.is_spoilt = state["unsure"]
    free.put(slot)
