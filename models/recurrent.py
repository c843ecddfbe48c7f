"""A model that carries states from frame to frame: Robust Video Matting and its kind.

Made by `models.registry` for manifests with `[[states]]`; `server.host_pipeline` calls `step` for
the frames of a stream, one at a time and in their order. An image outside of a stream runs with the
first states, as the first frame of a stream does.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from models.model import Model
from models.onnx_engine import OnnxEngine
from models.states import States


class RecurrentModel(Model):
    """See `models.model.Model`; the states belong to the caller."""

    def step(
        self, image: NDArray[np.float32], states: States | None
    ) -> tuple[NDArray[np.float32], States]:
        """The alpha of one frame, (h, w) float32 in [0, 1], and the states for the next one.

        Args:
            image: prepared: (1, 3, h, w) or (1, h, w, 3) float32.
            states: what this handed on for the frame before; None: there is none.

        Raises:
            EngineFailed: as `Model.run`.
        """
        raw, states = cast(OnnxEngine, self.engine).step(image, states)
        alphas = self.alphas(raw)
        if len(alphas) != 1:
            raise self._failed(f"answered {len(alphas)} images for 1")
        return alphas[0], states
