"""One alpha of two: what the promptable model means, with the edges that the matte has.

Called by `server.subjects.prompter`. The promptable model knows which subject, at a quarter of the
matte's resolution or less; the matte knows where edges are, but takes all subjects together and may
have passed over this one.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# How far beyond its own edge, in its own pixels, the chosen subject may reach where the matte does.
REACH_CELLS = 3
# Share of the chosen subject that the matte must hold for its edges to be believed: from all to
# nothing of it.
BELIEVED, DOUBTED = 0.85, 0.55


def joined(matte_u8: U8, chosen: F32) -> U8:
    """The chosen subject's alpha, (H, W).

    Args:
        matte_u8: (H, W), of all subjects.
        chosen: (h, w) in [0, 1] over the same picture, from the promptable model.
    """
    height, width = matte_u8.shape
    alpha = _stretched(chosen, width, height)
    inside = cv2.bitwise_and(matte_u8, cv2.threshold(alpha, 127, 255, cv2.THRESH_BINARY)[1])
    area = cv2.countNonZero(cv2.threshold(alpha, 127, 255, cv2.THRESH_BINARY)[1])
    if area == 0:
        return alpha
    held = cv2.sumElems(inside)[0] / 255 / area
    trust = float(np.clip((held - DOUBTED) / (BELIEVED - DOUBTED), 0, 1))
    if trust == 0:
        return alpha
    side = 2 * REACH_CELLS + 1
    reach = cv2.dilate(chosen, np.ones((side, side), np.uint8))
    # Soft, so that two subjects that touch are not parted by a staircase.
    fence = _stretched(cast(F32, cv2.GaussianBlur(reach, (0, 0), 1.0)), width, height)
    fence = cast(U8, cv2.LUT(fence, _STEEP))
    own = cv2.min(matte_u8, fence)
    if trust == 1:
        return cast(U8, own)
    return cast(U8, cv2.addWeighted(own, trust, alpha, 1 - trust, 0))


# From a quarter to three quarters: 0 to 1.
_STEEP = np.clip((np.arange(256) / 255 - 0.25) * 2 * 255, 0, 255).round().astype(np.uint8)


def _stretched(alpha: F32, width: int, height: int) -> U8:
    as_u8 = np.round(alpha * 255).astype(np.uint8)
    return cast(U8, cv2.resize(as_u8, (width, height), interpolation=cv2.INTER_LINEAR))
