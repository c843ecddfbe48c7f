"""Pictures that are put behind subjects: decoded once, whoever asks first.

Made by `server.options.background`; `server.looks` asks for the pixels, `server.remover` for what
they take, and `server.services.streams` holds a stream's for as long as the stream lives.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from numpy.typing import NDArray

from kernels.framing import frame
from server.admission import Admission
from server.codecs.decode import decode
from server.codecs.errors import ImageRejected
from server.codecs.header import Header, Limits, check_limits, read_header
from server.job import EncodedSource, Options, PictureBehind, Source
from server.option_rules import InvalidOption

DECODED_BYTES = 4  # a pixel, with its alpha
_NONE = Limits(max_megapixels=1e6, max_side_px=1 << 20)


class Picture:
    """A picture that is decoded when it is first needed; used by several threads.

    Args:
        source: as it came.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pixels: NDArray[np.uint8] | None = None
        self._decoding = threading.Lock()

    def nbytes(self, limits: Limits) -> int:
        """Memory that it will take, from its header; 0 once it has been decoded.

        Raises:
            InvalidOption: it is no picture, or larger than the server's limits.
        """
        if self._pixels is not None:
            return 0
        source = self._source
        try:
            if isinstance(source, EncodedSource):
                header = read_header(source.data)
            else:
                header = Header("raw", source.width, source.height, 1)
            check_limits(header, limits)
        except ImageRejected as error:
            raise _refused(error) from None
        return len(source.data) + header.width * header.height * DECODED_BYTES

    def pixels(self, limits: Limits | None) -> NDArray[np.uint8]:
        """(h, w, 3) uint8, or (h, w, 4) with straight alpha.

        Raises:
            InvalidOption: it is no picture, or larger than the server's limits.
        """
        with self._decoding:
            if self._pixels is None:
                try:
                    found = decode(self._source, limits or _NONE, keep_metadata=False)
                except ImageRejected as error:
                    raise _refused(error) from None
                alpha = found.alpha
                self._pixels = found.rgb if alpha is None else np.dstack((found.rgb, alpha))
            return self._pixels


def result_bytes(options: Options, width: int, height: int, per_pixel: int, limits: Limits) -> int:
    """Memory that an image of `width` x `height` takes besides its own: the picture behind it, and
    the result where a crop gives that a size of its own.

    Raises:
        InvalidOption: the picture behind it is none.
    """
    nbytes = 0
    if isinstance(options.background, PictureBehind):
        nbytes += options.background.picture.nbytes(limits)
    if options.crop is not None:
        # Where the subject is, nobody knows yet: the whole source is the largest it can be.
        shown = frame(options.crop, (0, 0, width, height), (width, height))
        nbytes += int(min(shown.columns * shown.rows, limits.max_megapixels * 1e6)) * per_pixel
    return nbytes


def load(options: Options, limits: Limits) -> None:
    """Decodes the picture behind the subject, if there is one: before a model runs for an image
    that cannot be finished.

    Raises:
        InvalidOption: it is no picture, or larger than the server's limits.
    """
    if isinstance(options.background, PictureBehind):
        options.background.picture.pixels(limits)


@asynccontextmanager
async def held(options: Options, admission: Admission, limits: Limits) -> AsyncIterator[None]:
    """A block for which the picture behind a stream's frames, if there is one, is decoded and its
    memory is counted.

    Raises:
        InvalidOption: it is no picture, or larger than the server's limits.
        Overloaded: there is no room for it.
    """
    behind = options.background
    if not isinstance(behind, PictureBehind):
        yield
        return
    with admission.try_admit(behind.picture.nbytes(limits)) as permit:
        pixels = await asyncio.to_thread(behind.picture.pixels, limits)
        permit.shrink(pixels.nbytes)
        yield


def _refused(error: ImageRejected) -> InvalidOption:
    return InvalidOption(f"option background.image.image: {error}")
