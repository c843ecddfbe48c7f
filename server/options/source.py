"""Where a picture comes from, its bytes untouched, and where a result goes: `Image`,
`shared_memory_output`, `cuda_memory_output`.

`read_source` is called by the services for each image, by `server.options.background` for a picture
behind the subject, and by the CLI's local mode.
"""

from __future__ import annotations

from collections.abc import Mapping

from mattestream.v1 import image_pb2
from server.job import ColorMatrix, EncodedSource, PixelFormat, RawSource, Source
from server.option_rules import InvalidOption, Refused, Rule, shown

_PIXEL_FORMATS = {
    image_pb2.PIXEL_FORMAT_RGB8: PixelFormat.RGB8,
    image_pb2.PIXEL_FORMAT_BGR8: PixelFormat.BGR8,
    image_pb2.PIXEL_FORMAT_RGBA8: PixelFormat.RGBA8,
    image_pb2.PIXEL_FORMAT_NV12: PixelFormat.NV12,
    image_pb2.PIXEL_FORMAT_I420: PixelFormat.I420,
    image_pb2.PIXEL_FORMAT_GRAY8: PixelFormat.GRAY8,
}
_MATRICES = {
    image_pb2.COLOR_MATRIX_UNSPECIFIED: None,
    image_pb2.COLOR_MATRIX_BT601: ColorMatrix.BT601,
    image_pb2.COLOR_MATRIX_BT709: ColorMatrix.BT709,
}

# `server.services.removal` takes it out of a single image's options before they are read.
RULES: Mapping[str, Rule] = {
    "shared_memory_output": Refused(
        "option shared_memory_output is for a single image, by Remove: in a stream give each frame "
        "its own range (Frame.shared_memory_output), because several are in work at once"
    ),
    "cuda_memory_output": Refused(
        "option cuda_memory_output is for a single image, by Remove: in a stream give each frame "
        "its own range (Frame.cuda_memory_output), because several are in work at once"
    ),
}


def read_source(message: image_pb2.Image, name: str = "image") -> Source:
    """The picture in `message`, its bytes untouched.

    Args:
        message: as it came.
        name: the field it came in, for the sentences.

    Raises:
        InvalidOption: there is none, a raw image's description makes no sense, or it lies in shared
            memory: what may, the services take to `server.shared_memory.door` or
            `server.cuda_memory.door` instead.
    """
    kind = message.WhichOneof("source")
    if kind == "encoded":
        return EncodedSource(message.encoded)
    if kind == "raw":
        return _raw(message.raw, name)
    if kind in {"shared_memory", "cuda_memory"}:
        raise InvalidOption(
            f"{name}.{kind} is not taken here: send the bytes in encoded or raw; the image "
            "of Remove and of a stream's frames may lie in shared memory"
        )
    raise InvalidOption(
        f"the {name} is empty: set encoded (the bytes of an image file) or raw (pixels)"
    )


def read_layout(
    layout: image_pb2.PixelLayout, name: str, data: bytes | memoryview = b""
) -> RawSource:
    """Raw pixels as `layout` describes them, with `data` for their bytes.

    Raises:
        InvalidOption: the description makes no sense.
    """
    if layout.format not in _PIXEL_FORMATS:
        names = ", ".join(sorted(image_pb2.PixelFormat.Name(value) for value in _PIXEL_FORMATS))
        raise InvalidOption(
            f"{name}.layout.format is {shown(layout, 'format')}: it must be one of {names}"
        )
    if layout.color_matrix not in _MATRICES:
        raise InvalidOption(
            f"{name}.layout.color_matrix is {layout.color_matrix}: it must be "
            "COLOR_MATRIX_BT601, COLOR_MATRIX_BT709 or unset"
        )
    return RawSource(
        data=data,
        format=_PIXEL_FORMATS[layout.format],
        width=layout.width,
        height=layout.height,
        strides=tuple(layout.strides),
        color_matrix=_MATRICES[layout.color_matrix],
        full_range=layout.full_range,
    )


def _raw(message: image_pb2.RawImage, name: str) -> RawSource:
    if message.compression != image_pb2.COMPRESSION_UNSPECIFIED:
        raise InvalidOption(
            f"{name}.raw.compression is {shown(message, 'compression')}: pixels of a request must "
            "be uncompressed, leave it unset"
        )
    return read_layout(message.layout, f"{name}.raw", message.data)
