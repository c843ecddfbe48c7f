"""Takes the cast of a green or blue screen out of a picture's colours.

Called by `server.finishing`; twin of `kernels.reference.despill` with its defaults.
"""

from __future__ import annotations

from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]


def despill(rgb_u8: U8, screen: Literal["green", "blue"]) -> U8:
    """Colours without the screen's cast, (H, W, 3) uint8: the screen's channel is at most the
    larger of the other two. Exactly the twin's.

    Args:
        rgb_u8: (H, W, 3).
        screen: its colour.
    """
    red, green, blue = cv2.split(rgb_u8)
    if screen == "green":
        green = cv2.min(green, cv2.max(red, blue))
    else:
        blue = cv2.min(blue, cv2.max(red, green))
    return cast(U8, cv2.merge((red, green, blue)))
