"""Frames that equal the one before: answered with its result, without running the model.

Used by `server.streams.session` for streams with `skip_unchanged`. Equal means byte for byte, of
the file or of the pixels with their description: a camera's noise makes every frame another, a
screen or a paused video does not. One result per stream is kept.
"""

from __future__ import annotations

import asyncio
import hashlib

from mattestream.v1 import removal_pb2
from server.job import EncodedSource, RawSource

# SHA-256 takes 0.6 ms for a mebibyte: larger pictures are looked at off the event loop.
DIGEST_ON_LOOP_BYTES = 256 << 10

Kept = asyncio.Future[removal_pb2.FrameResult | None]  # None: the frame failed


async def digest_of(source: EncodedSource | RawSource) -> bytes:
    """SHA-256 of a picture as it came."""
    if len(source.data) <= DIGEST_ON_LOOP_BYTES:
        return _digest(source)
    return await asyncio.to_thread(_digest, source)


class LastResult:
    """What the last frame that a stream worked on has, or will have, for a result."""

    def __init__(self) -> None:
        self._digest = b""
        self._kept: Kept | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the result that is kept."""
        if self._kept is None or not self._kept.done():
            return 0
        result = self._kept.result()
        return 0 if result is None else result.ByteSize()

    def claim(self, digest: bytes) -> tuple[Kept, bool]:
        """The result of the frame with this digest, and True when the caller must make it: no frame
        directly before had the same, or it failed.
        """
        kept = self._kept
        is_equal = kept is not None and digest == self._digest
        if kept is not None and is_equal and not (kept.done() and kept.result() is None):
            return kept, False
        self._digest, self._kept = digest, asyncio.get_running_loop().create_future()
        return self._kept, True


def _digest(source: EncodedSource | RawSource) -> bytes:
    digest = hashlib.sha256(source.data)
    if isinstance(source, RawSource):
        layout = (source.format, source.width, source.height, source.strides)
        digest.update(repr((*layout, source.color_matrix, source.full_range)).encode())
    return digest.digest()
