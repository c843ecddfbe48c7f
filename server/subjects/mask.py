"""A caller's rough mask: where about the subject is.

Made by `server.options.subject`; read as a trimap is, but for what its levels mean.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from server.trimap import Trimap


class Mask(Trimap):
    """A picture of the source's size: 0 background, 255 subject, and all between."""

    name = "subject.mask"

    def _read(self, rgb_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2GRAY), np.uint8)
