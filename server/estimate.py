"""What an image will take, from its header alone: the server counts it before it lets the image in.

Called by `server.remover`; `server.admission` says what a format's pixels take.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from server.admission import (
    ANSWER_BYTES_PER_PIXEL,
    ANSWER_BYTES_PER_PIXEL_OF,
    BYTES_PER_PIXEL,
    BYTES_PER_PIXEL_OF,
)
from server.behind import result_bytes
from server.codecs.header import Header, Limits, check_limits, read_header
from server.cuda_memory.ranges import CudaSource
from server.job import EncodedSource, Options, Source
from server.refining import edge_bytes
from server.shared_memory.door import HEAD_BYTES, SharedSource

# Headers take microseconds, but a hostile one can be walked for 40 ms per MiB of it: larger files
# are looked at off the event loop.
HEADER_ON_LOOP_BYTES = 1 << 20


class Estimate(NamedTuple):
    """Memory and size of one image.

    Attributes:
        held: bytes that it holds while it is in: what came, and its answer.
        work: bytes that it takes besides while it is worked on.
        megapixels: of the picture.
    """

    held: int
    work: int
    megapixels: float


async def estimate(
    source: Source | SharedSource | CudaSource, options: Options, limits: Limits
) -> Estimate:
    """What the image will take; in a few microseconds, unless its header is long.

    Raises:
        ImageRejected: it is no picture, or larger than the limits.
        SharedMemoryWrong: what it lies in has changed.
    """
    header = await _header(source)
    check_limits(header, limits)
    per_pixel = BYTES_PER_PIXEL_OF.get(options.format, BYTES_PER_PIXEL)
    pixels = header.width * header.height
    answer = pixels * ANSWER_BYTES_PER_PIXEL_OF.get(options.format, ANSWER_BYTES_PER_PIXEL)
    work = pixels * per_pixel - answer
    work += result_bytes(options, header.width, header.height, per_pixel, limits)
    work += edge_bytes(options, pixels / 1e6, limits)
    if options.subject is not None and options.subject.mask is not None:
        work += options.subject.mask.nbytes(limits)
    return Estimate(_bytes_of(source) + answer, work, pixels / 1e6)


def _bytes_of(source: Source | SharedSource | CudaSource) -> int:
    if isinstance(source, SharedSource | CudaSource):
        return source.nbytes
    return len(source.data)


async def _header(source: Source | SharedSource | CudaSource) -> Header:
    match source:
        case CudaSource():
            return source.header()
        case SharedSource(layout=None) if source.nbytes > HEAD_BYTES:
            return await asyncio.to_thread(source.header)
        case SharedSource():
            return source.header()
        case EncodedSource() if len(source.data) > HEADER_ON_LOOP_BYTES:
            return await asyncio.to_thread(read_header, source.data)
        case EncodedSource():
            return read_header(source.data)
    return Header("raw", source.width, source.height, 1)
