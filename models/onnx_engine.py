"""Runs a network with ONNX Runtime on the CPU.

Made by `models.registry`, run by `models.model`; `models.onnx_device_engine` is its sibling for
GPUs.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import onnx_session
from models.errors import EngineFailed, ManifestError
from models.manifest import Manifest
from models.states import States, first_states

# Of states and constants: what ONNX Runtime calls them, and NumPy.
_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
}


class OnnxEngine:
    """A network in an ONNX Runtime session; see `models.engine.Engine` for the contract."""

    def __init__(
        self, path: Path, manifest: Manifest, *, threads: int = 1, max_batch: int = 0
    ) -> None:
        """Reads the weights and checks the graph against the manifest.

        Args:
            path: the ONNX file.
            manifest: what it should be.
            threads: runs that may go on at once, 1 or more.
            max_batch: most images in one run, up to the manifest's; 0: 1, since on a CPU a batch
                only makes its first image wait for its last.

        Raises:
            EngineFailed: ONNX Runtime refuses the file.
            ManifestError: the graph is not what the manifest says, or neither fp32 nor fp16.
        """
        network = onnx_session.open_network(path, manifest)
        self._session: Any = network.session
        self._input, self._output = network.source.name, network.target.name
        self._precision = network.precision
        dtypes = _dtypes_of(network, manifest)
        self._constants = {
            name: np.array(values, dtypes[name]) for name, values in manifest.constants.items()
        }
        self._states = manifest.states
        self._first_states = first_states(manifest.states, dtypes)
        self._max_batch = 1 if manifest.states else min(manifest.max_batch, max_batch or 1)
        self._runs = threads
        # ONNX Runtime's arena keeps the memory of every run that ever went on at the same time, so
        # what bounds the runs bounds the memory. Without the arena it is worse: on matte-s, 41 MB
        # with it after 2 callers and 128 MB after 8; 211 and 713 MB without, and no faster.
        self._permits = threading.BoundedSemaphore(self._runs)
        self._closing = threading.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        """Library and version: "onnxruntime 1.23.2"."""
        return onnx_session.NAME

    @property
    def device(self) -> str:
        """Where it runs: "cpu"."""
        return "cpu"

    @property
    def precision(self) -> str:
        """Numeric precision of the graph's input: "fp32" or "fp16"."""
        return self._precision

    @property
    def max_batch(self) -> int:
        """Most images in one run."""
        return self._max_batch

    @property
    def max_concurrent_runs(self) -> int:
        """Runs that go on at once; more callers wait."""
        return self._runs

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's raw output tensor for `batch`, float32, in the order of the images.

        Args:
            batch: (N, 3, H, W) or (N, H, W, 3) float32, as the manifest's layout says.

        Raises:
            EngineFailed: ONNX Runtime reported an error, or the engine is closed.
        """
        if self._states:
            answers = [self.step(image, None)[0] for image in np.split(batch, len(batch))]
            return np.concatenate(answers)
        (raw,) = self._run(batch, {}, [self._output])
        return np.asarray(raw, np.float32)

    def step(
        self, image: NDArray[np.float32], states: States | None
    ) -> tuple[NDArray[np.float32], States]:
        """The raw output for one frame, (1, ...) float32, and the states for the next one.

        Args:
            image: (1, 3, H, W) or (1, H, W, 3) float32.
            states: of the frame before; None: there is none.

        Raises:
            EngineFailed: as `run`.
        """
        wanted = [self._output, *(state.output for state in self._states)]
        raw, *handed_on = self._run(image, states or self._first_states, wanted)
        names = [state.input for state in self._states]
        return np.asarray(raw, np.float32), dict(zip(names, handed_on, strict=True))

    def _run(self, batch: NDArray[np.float32], states: States, wanted: list[str]) -> list[Any]:
        feed: NDArray[Any] = batch if self._precision == "fp32" else batch.astype(np.float16)
        with self._permits:
            if self._closed:
                raise EngineFailed("the engine was closed before this run began")
            try:
                answers: list[Any] = self._session.run(
                    wanted, {self._input: feed, **self._constants, **states}
                )
            except Exception as error:  # ONNX Runtime's classes share no base of their own
                raise EngineFailed(
                    f"{self.name} failed in a run: {onnx_session.words(error)}"
                ) from error
        return answers

    def close(self) -> None:
        """Waits for the runs that go on and frees the session; may be called twice."""
        with self._closing:  # two that gather permits at once could each wait for the other's
            for _ in range(self._runs):
                self._permits.acquire()
            self._closed = True
            self._session = None
            for _ in range(self._runs):
                self._permits.release()


def _dtypes_of(network: onnx_session.Network, manifest: Manifest) -> dict[str, np.dtype[Any]]:
    """Types of the states and constants that the graph takes."""
    named = {*manifest.constants, *(state.input for state in manifest.states)}
    types = {name: kind for name, kind in network.types.items() if name in named}
    if problems := [
        f"the graph's input '{name}' is a {kind}; allowed for states and constants are "
        f"{', '.join(_DTYPES)}"
        for name, kind in types.items()
        if kind not in _DTYPES
    ]:
        raise ManifestError(manifest.path, problems)
    return {name: _DTYPES[kind] for name, kind in types.items()}
