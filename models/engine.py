"""What every engine can do: run a batch of prepared images. ONNX Runtime today, TensorRT beside it.

Called by `models.model.Model`; implemented by `models.onnx_engine`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """A loaded network. `run` may be called by `max_concurrent_runs` threads at once."""

    @property
    def name(self) -> str:
        """Library and version, as in the report: "onnxruntime 1.23.2"."""

    @property
    def device(self) -> str:
        """Where it really runs: "cpu", "cuda:0 NVIDIA H200"."""

    @property
    def precision(self) -> str:
        """Numeric precision: "fp32" or "fp16"."""

    @property
    def max_batch(self) -> int:
        """Most images in one run, 1 or more."""

    @property
    def max_concurrent_runs(self) -> int:
        """Runs that pay off at once: the cores on a CPU, 1 on a GPU."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's raw output tensor for `batch`, in the order of the images.

        Args:
            batch: prepared images, (N, C, H, W) or (N, H, W, C) float32, as the layout says.

        Raises:
            EngineFailed: the library reported an error; the message holds its words.
        """

    def close(self) -> None:
        """Frees what the engine holds; it is not run again."""
