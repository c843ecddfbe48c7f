"""Pictures to messages: whatever a caller has of one, as the contract's `Image`.

Called by `mattestream.request`. `raw_image` is for callers too, for samples that are not RGB.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeGuard, Union

import numpy as np
from numpy.typing import NDArray

from mattestream.errors import BadImage
from mattestream.pixels import BY_CHANNELS, PIXEL_FORMATS, PixelFormatName
from mattestream.shared_frame import FrameInPlace
from mattestream.v1 import image_pb2
from mattestream.values import choose

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# Pillow's modes that go as they are; of the others, those with an alpha become RGBA, the rest RGB.
_BY_MODE: dict[str, PixelFormatName] = {"L": "gray", "RGB": "rgb", "RGBA": "rgba"}
_WITH_ALPHA = {"LA", "La", "PA", "RGBa"}


class ReadableFile(Protocol):
    """An open binary file, or anything else with a `read` that gives bytes."""

    def read(self) -> bytes:
        """All of the rest."""


ImageInput = Union[
    bytes,
    bytearray,
    memoryview,
    str,
    os.PathLike[str],
    NDArray[np.uint8],
    "PillowImage",
    BinaryIO,
    ReadableFile,
    image_pb2.Image,
    FrameInPlace,
]


def build_image(image: ImageInput) -> image_pb2.Image:
    """The picture as a message.

    Args:
        image: the bytes of an image file, a path, an open binary file, pixels as a uint8 array of
            (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, a Pillow image (its pixels as they
            are: an orientation in its EXIF is not applied), a frame of `SharedFrames`, a
            `CudaFrame`, or a ready message, as `raw_image` makes one.

    Raises:
        BadImage: the file cannot be read, or the array has another type or shape.
    """
    if isinstance(image, FrameInPlace | image_pb2.Image):
        return image.message() if isinstance(image, FrameInPlace) else image
    if isinstance(image, bytes | bytearray | memoryview):
        return image_pb2.Image(encoded=bytes(image))  # bytes of bytes are no copy
    if isinstance(image, np.ndarray):
        return raw_image(image)
    if isinstance(image, str | os.PathLike):
        return image_pb2.Image(encoded=_read(image))
    if is_pillow(image):
        return _of_pillow(image)
    if callable(getattr(image, "read", None)):
        return image_pb2.Image(encoded=_read_open(image))
    raise BadImage(
        f"cannot take a {type(image).__name__} for an image: give bytes, a path, an open binary "
        "file, a uint8 array or a Pillow image"
    )


def raw_image(pixels: NDArray[np.uint8], order: PixelFormatName | None = None) -> image_pb2.Image:
    """Raw samples as a message, which every call takes in the place of a picture.

    Args:
        pixels: uint8; (H, W, 3) for "rgb" and "bgr", (H, W, 4) for "rgba", (H, W) or (H, W, 1) for
            "gray", (H * 3 / 2, W) for "nv12" and "i420", as OpenCV has them.
        order: what the samples are; None: grey, RGB or RGBA, as the array has 1, 3 or 4 channels.
            OpenCV reads "bgr".

    Raises:
        BadImage: the array has another type or shape.
        InvalidRequest: there is no such order.
    """
    if order is not None:
        choose("order", order, PIXEL_FORMATS)
    shape: tuple[int, ...] = getattr(pixels, "shape", ())
    channels = shape[2] if len(shape) == 3 else 1
    name = order or BY_CHANNELS.get(channels)
    if (
        name is None
        or getattr(pixels, "dtype", None) != np.uint8
        or len(shape) not in {2, 3}
        or channels != (PIXEL_FORMATS[name].samples or 1)
    ):
        raise BadImage(f"the array is {_seen(pixels)}: give {_wanted(order)}")
    found = PIXEL_FORMATS[name]
    height, width = shape[:2]
    if not found.samples:
        if height % 3 or width % 2:
            raise BadImage(
                f"the array is {_seen(pixels)}: a picture of even sides has 3 rows of {name} for 2"
            )
        height = height * 2 // 3
    layout = image_pb2.PixelLayout(format=found.wire, width=width, height=height)
    data = pixels.tobytes()  # C order, whatever the strides
    return image_pb2.Image(raw=image_pb2.RawImage(layout=layout, data=data))


def is_pillow(image: object) -> TypeGuard[PillowImage]:
    """Whether it is one of Pillow's, without importing Pillow, which takes 40 ms."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(image, pillow.Image)


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in it
        text = str(os.fspath(path))
        hint = ": an address is not fetched, give the picture's bytes"
        seen = text if len(text) <= 200 else f"{text[:200]}..."
        why = getattr(error, "strerror", None) or error
        raise BadImage(
            f"cannot read {seen}: {why}{hint if text.startswith(('http', 'data:')) else ''}"
        ) from error


def _read_open(file: Any) -> bytes:
    if isinstance(file, io.TextIOBase):
        raise BadImage("the file is open as text: open it in binary mode ('rb')")
    data = file.read()
    if not isinstance(data, bytes):
        raise BadImage(f"the file object gave {type(data).__name__}: open it in binary mode ('rb')")
    return data


def _of_pillow(image: PillowImage) -> image_pb2.Image:
    try:
        if image.mode not in _BY_MODE:
            has_alpha = image.mode in _WITH_ALPHA or "transparency" in image.info
            image = image.convert("RGBA" if has_alpha else "RGB")
        return raw_image(np.asarray(image, np.uint8), _BY_MODE[image.mode])
    except (OSError, ValueError) as error:  # Pillow reads a file's pixels only now
        raise BadImage(f"the Pillow image cannot be read: {error}") from error


def _seen(pixels: Any) -> str:
    return f"{getattr(pixels, 'dtype', type(pixels).__name__)} {getattr(pixels, 'shape', '')}"


def _wanted(order: PixelFormatName | None) -> str:
    if order is None:
        return (
            "uint8 of (H, W), (H, W, 1), (H, W, 3) in RGB order or (H, W, 4) in RGBA order; other "
            "layouts by mattestream.raw_image"
        )
    samples = PIXEL_FORMATS[order].samples
    if not samples:
        return f"uint8 of (H * 3 / 2, W) for {order}"
    return f"uint8 of (H, W{f', {samples}' if samples > 1 else ''}) for {order}"
