"""The part of the network's alpha that an image covers, as a kernel's argument.

Called by the launchers of `alpha_to_source` and `finish`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.letterbox import Placement

_NETWORK = np.dtype(
    [("alpha", np.uint64), ("stride", np.int32), ("width", np.int32), ("height", np.int32)],
    align=True,
)


def network_struct(alpha: int, plane_width: int, at: Placement) -> NDArray[np.void]:
    """`struct Network` of the kernels, shape (1,).

    Args:
        alpha: device address of the plane, (plane height, plane width) float32.
        plane_width: its columns.
        at: where the image lies in it.
    """
    network = np.zeros(1, _NETWORK)
    network["alpha"] = alpha + 4 * (at.top * plane_width + at.left)
    network["stride"], network["width"], network["height"] = plane_width, at.width, at.height
    return network
