"""A caller's trimap: what is surely subject, what surely is not, and what the picture must decide.

Made by `server.options.subject`; `server.remover` asks what it takes and whether it fits before a
model runs, `server.finishing` for its pixels.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from server.codecs.decode import decode
from server.codecs.errors import ImageRejected
from server.codecs.header import Header, Limits, check_limits, read_header
from server.job import EncodedSource, Source
from server.option_rules import InvalidOption
from server.shrink import size_within

U8 = NDArray[np.uint8]

UNKNOWN = 128
# A JPEG of three levels has more than three: what is this near to an end of the scale is known.
NEARLY = 16
DECODED_BYTES = 5  # a pixel: its colours while it is decoded, then one byte of them
_NONE = Limits(max_megapixels=1e6, max_side_px=1 << 20)


class Trimap:
    """A trimap that is decoded when it is first needed; used by several threads.

    Args:
        source: as it came.
    """

    name = "subject.trimap"  # the option, for the sentences

    def __init__(self, source: Source) -> None:
        self._source = source
        self._levels: U8 | None = None
        self._decoding = threading.Lock()

    def nbytes(self, limits: Limits) -> int:
        """Memory that it will take, from its header.

        Raises:
            InvalidOption: it is no picture, or larger than the server's limits.
        """
        source = self._source
        try:
            if isinstance(source, EncodedSource):
                header = read_header(source.data)
            else:
                header = Header("raw", source.width, source.height, 1)
            check_limits(header, limits)
        except ImageRejected as error:
            raise self._refused(error) from None
        return len(source.data) + header.width * header.height * DECODED_BYTES

    def levels(
        self, width: int, height: int, max_megapixels: float = 0.0, limits: Limits = _NONE
    ) -> U8:
        """0 background, 255 subject, 128 unknown; (height, width) uint8.

        Args:
            width: of the picture it is for, in pixels, upright.
            height: likewise.
            max_megapixels: the picture was made smaller to it, and so is the trimap; 0: it was not.
            limits: of what is decoded.

        Raises:
            InvalidOption: it is no picture, larger than `limits`, or not of the picture's size.
        """
        with self._decoding:
            if self._levels is None:
                try:
                    found = decode(self._source, limits, keep_metadata=False)
                except ImageRejected as error:
                    raise self._refused(error) from None
                self._levels = self._read(found.rgb)
        rows, columns = self._levels.shape
        if (columns, rows) == (width, height):
            return self._levels
        if size_within(columns, rows, max_megapixels) != (width, height):
            raise InvalidOption(
                f"option {self.name} is {columns}x{rows} pixels, the image is {width}x{height}: "
                "both must be of one size, counted upright"
            )
        smaller = cv2.resize(self._levels, (width, height), interpolation=cv2.INTER_NEAREST)
        return np.asarray(smaller, np.uint8)

    def _read(self, rgb_u8: U8) -> U8:
        """The three levels; a JPEG has more."""
        grey = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2GRAY)
        table = np.full(256, UNKNOWN, np.uint8)
        table[:NEARLY], table[-NEARLY:] = 0, 255
        return np.asarray(cv2.LUT(grey, table), np.uint8)

    def _refused(self, error: ImageRejected) -> InvalidOption:
        return InvalidOption(f"option {self.name}: {error}")
