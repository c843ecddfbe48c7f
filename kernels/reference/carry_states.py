"""States that are carried to the next frame, or begin anew.

Twin of `cuda/carry_states.cu`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def carry_states(
    states: NDArray[np.uint8] | None, nbytes: int, change: int = 0, cut: int | None = None
) -> NDArray[np.uint8]:
    """What the next frame goes by, (nbytes,) uint8: the states' bytes, or zeros.

    Args:
        states: (nbytes,) of the frame before; None: there is none.
        nbytes: of all states together.
        change: how much the picture has changed.
        cut: the change from which on it shows another scene; None: it never does.
    """
    if states is None or (cut is not None and change >= cut):
        return np.zeros(nbytes, np.uint8)
    return states.copy()
