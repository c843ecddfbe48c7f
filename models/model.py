"""A model that can be run: its manifest, its engine and the two steps around it.

Made by `models.registry`; `prepare` is called by `server.pipeline` in a worker, `run` by the
batcher.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels import cpu
from kernels.reference.activate import FLAT, Activation
from models.engine import Engine
from models.errors import EngineFailed
from models.graph_check import channel_problem
from models.manifest import Manifest


class Model:
    """A manifest and a loaded engine. Safe to use from several threads at once.

    Attributes:
        output_shape: of the network's own answer without the batch axis, once `warm`.
    """

    def __init__(self, manifest: Manifest, engine: Engine, weights_sha256: str) -> None:
        """Stores.

        Args:
            manifest: what the model is.
            engine: what runs it.
            weights_sha256: digest of the bytes that were really loaded, 64 hex digits.
        """
        self.manifest = manifest
        self.engine = engine
        self.weights_sha256 = weights_sha256
        self.output_shape: tuple[int, ...] = ()

    @property
    def max_batch(self) -> int:
        """Most images in one run."""
        return self.engine.max_batch

    @property
    def max_concurrent_runs(self) -> int:
        """Runs that go on at once."""
        return self.engine.max_concurrent_runs

    def prepare(self, rgb_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A batch of one for the engine: (1, 3, h, w) or (1, h, w, 3) float32, as the layout says.

        Args:
            rgb_u8: (H, W, 3), any size.
        """
        wanted = self.manifest.input
        return cpu.resize_normalise(
            rgb_u8,
            wanted.width,
            wanted.height,
            wanted.mean,
            wanted.std,
            layout=wanted.layout,
            fit=wanted.fit,
            channels=wanted.channels,
        )

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Alphas, (N, h, w) float32 in [0, 1], in the order of the prepared images in `batch`.

        Raises:
            EngineFailed: the engine reported an error, or its answer is not what was promised.
        """
        alphas = self.alphas(self.engine.run(batch))
        if len(alphas) != len(batch):
            raise self._failed(f"answered {len(alphas)} images for {len(batch)}")
        return alphas

    def alphas(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Alphas, (N, h, w) contiguous float32 in [0, 1], from the engine's raw output.

        Raises:
            EngineFailed: `raw` has other axes or channels than the manifest says, or holds NaN.
        """
        output = self.manifest.output
        if raw.ndim != len(output.layout):
            raise self._failed(f"answered {raw.ndim} axes {raw.shape}, not {output.layout}")
        # NaN goes through min and max, so the two are the whole check.
        if raw.size == 0 or not np.isfinite(raw.min()) or not np.isfinite(raw.max()):
            raise self._failed("answered values that are not numbers")
        if output.layout == "NHW":
            planes = raw[None]
        else:
            axis = output.layout.index("C")
            if problem := channel_problem(self.manifest, raw.shape[axis]):
                raise self._failed(f"answered {raw.shape}: {problem}")
            planes = np.moveaxis(raw, axis, 0)
        alphas = _activate(planes, output.channel or 0, output.activation)
        return np.ascontiguousarray(np.clip(alphas, 0, 1), np.float32)

    def warm(self) -> None:
        """Runs a blank image once, so that the first request pays for nothing and surprises nobody.

        Raises:
            EngineFailed: the run failed, or the answer is not what the manifest promises.
        """
        wanted = self.manifest.input
        blank = np.full((wanted.height, wanted.width, 3), 128, np.uint8)
        raw = self.engine.run(self.prepare(blank))
        height, width = self.alphas(raw).shape[1:]
        self.output_shape = raw.shape[1:]
        # Letterbox bars are cut out of the answer by proportion, so it must have the input's shape.
        if wanted.fit != "stretch" and height * wanted.width != width * wanted.height:
            raise self._failed(
                f"answered {width} x {height} for {wanted.width} x {wanted.height}: with fit "
                f"'{wanted.fit}' both need the same aspect ratio"
            )

    def close(self) -> None:
        """Frees the engine; the model is not run again."""
        self.engine.close()

    def _failed(self, what: str) -> EngineFailed:
        return EngineFailed(f"model '{self.manifest.name}' ({self.manifest.path}) {what}")


def _activate(
    planes: NDArray[np.float32], channel: int, activation: Activation
) -> NDArray[np.float32]:
    """(N, h, w): what `activation` makes of one channel of (C, N, h, w)."""
    x: NDArray[np.float32] = planes[channel]
    if activation == "sigmoid":
        # Beyond 30 it is 0 or 1 in float32 anyway, and exp would overflow.
        x = (1 / (1 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32)
    elif activation == "softmax":
        powers = np.exp(planes - planes.max(axis=0))
        x = powers[channel] / powers.sum(axis=0)
    elif activation == "minmax":
        lowest = x.min(axis=(1, 2), keepdims=True)
        reach = x.max(axis=(1, 2), keepdims=True) - lowest
        x = np.where(reach > FLAT, (x - lowest) / np.maximum(reach, FLAT), x)
    return x
