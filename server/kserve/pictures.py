"""The pictures of a pipeline's request: files or pixels, in the message or in shared memory.

Called by `server.kserve.pipeline_face`, on the event loop: what lies in shared memory is read
later, by a worker and after admission.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mattestream.kserve.v2 import infer_pb2
from server.cuda_memory.ranges import CudaSource
from server.job import EncodedSource, PixelFormat, RawSource, Source
from server.kserve.asked import Asked
from server.kserve.datatypes import BYTES, LENGTH_BYTES, UINT8, element_length
from server.kserve.errors import WrongRequest
from server.kserve.tensors import CudaSpan, Input, Span
from server.shared_memory.door import SharedMemory, SharedSource

IMAGE, PIXELS = "image", "pixels"
PIXEL_FORMAT = "pixel_format"  # parameter: how the channels of `pixels` are ordered
MAX_BATCH = 16  # pictures in one request

_FORMATS = {
    "rgb8": (PixelFormat.RGB8, 3),
    "bgr8": (PixelFormat.BGR8, 3),
    "rgba8": (PixelFormat.RGBA8, 4),
    "gray8": (PixelFormat.GRAY8, 1),
}
_BY_CHANNELS = {1: PixelFormat.GRAY8, 3: PixelFormat.RGB8, 4: PixelFormat.RGBA8}


def is_spelt_out(asked: Asked) -> bool:
    """True when pixels came one by one: turning them into bytes takes time, a worker's."""
    return any(
        each.name == PIXELS and isinstance(each.data, infer_pb2.InferTensorContents)
        for each in asked.inputs.values()
    )


Pictures = list[Source | SharedSource | CudaSource]


def read_pictures(asked: Asked, shared_memory: SharedMemory) -> Pictures:
    """The pictures of a request, in their order.

    Args:
        asked: the request; its parameter `pixel_format` is taken out.
        shared_memory: where they may lie.

    Raises:
        WrongRequest: there are none, or they are not what the tensor says.
        SharedMemoryWrong, ImageTooLarge: a range makes no sense.
    """
    for name in asked.inputs:
        if name not in {IMAGE, PIXELS}:
            raise WrongRequest(
                f"input '{name}' is not one of the pipeline's: send '{IMAGE}' (files) or "
                f"'{PIXELS}' (UINT8, rows, columns, channels)"
            )
    if len(asked.inputs) != 1:
        came = "both came" if asked.inputs else "neither came"
        raise WrongRequest(f"the pipeline takes one of '{IMAGE}' and '{PIXELS}', {came}: send one")
    (tensor,) = asked.inputs.values()
    wanted_format = asked.own.pop(PIXEL_FORMAT, None)
    if tensor.name == PIXELS:
        return _pixels(tensor, _format(tensor, wanted_format), shared_memory)
    if wanted_format is not None:
        raise WrongRequest(f"parameter '{PIXEL_FORMAT}' is for '{PIXELS}': files know their own")
    return _files(tensor, shared_memory)


def _files(tensor: Input, shared_memory: SharedMemory) -> Pictures:
    if tensor.datatype != BYTES or len(tensor.shape) != 2 or tensor.shape[1] != 1:
        raise _wrong_shape(tensor, f"{BYTES} [N, 1]")
    _check_batch(tensor)
    if isinstance(tensor.data, CudaSpan):
        raise WrongRequest(
            f"input '{tensor.name}' lies in region '{tensor.data.name}' of a GPU's memory: files "
            f"are for the host, send them in the message, or send '{PIXELS}'"
        )
    if not isinstance(tensor.data, Span):
        return [EncodedSource(bytes(element)) for element in tensor.strings()]
    span = tensor.data
    found: Pictures = [
        shared_memory.within(span.region, start, nbytes, None)
        for start, nbytes in _elements_in(span, tensor)
    ]
    return found


def _elements_in(span: Span, tensor: Input) -> Iterator[tuple[int, int]]:
    """First byte and length of each element of a BYTES tensor in shared memory."""
    at, end = span.start, span.start + span.nbytes
    for _ in range(tensor.elements):
        length = end - at
        if at + LENGTH_BYTES <= end:
            length = element_length(span.region.read(at, LENGTH_BYTES).tobytes())
            at += LENGTH_BYTES
        if at + length > end or at >= end:
            raise WrongRequest(
                f"input '{tensor.name}' of shape {list(tensor.shape)} does not end within its "
                f"range of region '{span.name}', {span.nbytes} bytes: {BYTES} are each element's "
                "length as a little-endian uint32, then the element"
            )
        yield at, length
        at += length


def _pixels(tensor: Input, pixel_format: PixelFormat, shared_memory: SharedMemory) -> Pictures:
    images, height, width, channels = tensor.shape
    one = height * width * channels
    if isinstance(tensor.data, Span | CudaSpan):
        span = tensor.data
        if span.nbytes != images * one:
            raise WrongRequest(
                f"input '{tensor.name}' of shape {list(tensor.shape)} is {images * one} bytes, its "
                f"range of region '{span.name}' has {span.nbytes}: name exactly its own"
            )
        layout = RawSource(b"", pixel_format, width, height)
        if isinstance(span, CudaSpan):
            return [
                CudaSource(replace(span.there, offset=span.offset + at * one, nbytes=one), layout)
                for at in range(images)
            ]
        return [
            shared_memory.within(span.region, span.start + at * one, one, layout)
            for at in range(images)
        ]
    return [
        RawSource(image.reshape(-1).data, pixel_format, width, height) for image in tensor.array()
    ]


def _format(tensor: Input, wanted: object) -> PixelFormat:
    """How the channels are ordered; the tensor's shape is one of pixels."""
    if tensor.datatype != UINT8 or len(tensor.shape) != 4 or tensor.shape[3] not in _BY_CHANNELS:
        raise _wrong_shape(tensor, f"{UINT8} [N, rows, columns, 1, 3 or 4]")
    _check_batch(tensor)
    channels = tensor.shape[3]
    if wanted is None:
        return _BY_CHANNELS[channels]
    found = _FORMATS.get(str(wanted).lower())
    if found is None or found[1] != channels:
        fitting = " or ".join(name for name, (_, takes) in _FORMATS.items() if takes == channels)
        raise WrongRequest(
            f"parameter '{PIXEL_FORMAT}' is {wanted!r}: for {channels} channels it must be "
            f"{fitting}, or unset"
        )
    return found[0]


def _check_batch(tensor: Input) -> None:
    if tensor.shape[0] > MAX_BATCH:
        raise WrongRequest(
            f"input '{tensor.name}' holds {tensor.shape[0]} pictures: send up to {MAX_BATCH} in a "
            "request"
        )


def _wrong_shape(tensor: Input, allowed: str) -> WrongRequest:
    return WrongRequest(
        f"input '{tensor.name}' is {tensor.datatype} {list(tensor.shape)}: it must be {allowed}"
    )
