"""One image's tensors of a bare network, of which either may lie in device memory already.

Made by `server.kserve.in_place`, taken by `models.device_batch`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PreparedTensor:
    """An input, and where its answer goes.

    Attributes:
        source: (1, ...) float32 as the input layout says; or the address of as many bytes as the
            engine takes for one image.
        target: address of room for the engine's answer; None: it comes to the host.
    """

    source: NDArray[np.float32] | int
    target: int | None = None
