"""How raw samples lie in arrays: the names of the layouts, in the SDK's words.

Used by `mattestream.picture`, `mattestream.shared_frames` and `mattestream.cuda_frame`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from mattestream.v1 import image_pb2

PixelFormatName = Literal["rgb", "bgr", "rgba", "gray", "nv12", "i420"]


class PixelFormat(NamedTuple):
    """One layout: its name on the wire, samples a pixel, 0 where planes lie below each other."""

    wire: image_pb2.PixelFormat.ValueType
    samples: int

    def shape(self, width: int, height: int) -> tuple[int, ...]:
        """Of the array of a picture of this size: planes below each other, as OpenCV has them."""
        if not self.samples:
            return (height * 3 // 2, width)
        return (height, width) if self.samples == 1 else (height, width, self.samples)


PIXEL_FORMATS: Mapping[str, PixelFormat] = {
    "rgb": PixelFormat(image_pb2.PIXEL_FORMAT_RGB8, 3),
    "bgr": PixelFormat(image_pb2.PIXEL_FORMAT_BGR8, 3),
    "rgba": PixelFormat(image_pb2.PIXEL_FORMAT_RGBA8, 4),
    "gray": PixelFormat(image_pb2.PIXEL_FORMAT_GRAY8, 1),
    "nv12": PixelFormat(image_pb2.PIXEL_FORMAT_NV12, 0),
    "i420": PixelFormat(image_pb2.PIXEL_FORMAT_I420, 0),
}
# What an array of so many channels is taken for where nothing is said.
BY_CHANNELS: Mapping[int, PixelFormatName] = {1: "gray", 3: "rgb", 4: "rgba"}
