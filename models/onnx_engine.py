"""Runs a network with ONNX Runtime: on the CPU by default, on CUDA when asked, never on one in
place of the other.

Made by `models.registry`, run by `models.model`. This is the one file that imports onnxruntime.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.errors import DeviceNotAvailable, EngineFailed, ManifestError
from models.graph_check import Tensor, check_graph
from models.manifest import Manifest

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
DEVICE = re.compile(r"auto|cpu|cuda(?::(\d{1,2}))?")
PRECISIONS = {"tensor(float)": "fp32", "tensor(float16)": "fp16"}


class OnnxEngine:
    """A network in an ONNX Runtime session; see `models.engine.Engine` for the contract."""

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        *,
        device: str = "auto",
        threads: int = 1,
        max_batch: int = 0,
    ) -> None:
        """Reads the weights and checks the graph against the manifest.

        Args:
            path: the ONNX file.
            manifest: what it should be.
            device: "cpu", "cuda", "cuda:1", or "auto", which is "cpu" until the GPU path is built.
            threads: runs that may go on at once on a CPU, 1 or more.
            max_batch: most images in one run, up to the manifest's; 0: 1 on a CPU, where a batch
                only makes its first image wait for its last, else the manifest's.

        Raises:
            EngineFailed: ONNX Runtime refuses the file, or its tensors are neither fp32 nor fp16.
            ManifestError: the graph is not what the manifest says.
            DeviceNotAvailable: `device` is not there.
        """
        self._device, provider, options = _provider(device)
        self._session = _session(path, provider, options)
        ran_on = self._session.get_providers()[0]
        if ran_on != provider:  # ONNX Runtime only logs that it fell back
            raise DeviceNotAvailable(
                f"device '{device}' was asked for, but onnxruntime {ort.__version__} could not "
                f"open it and would have used {ran_on}: check the NVIDIA driver and the CUDA "
                f"libraries (pip install 'onnxruntime-gpu[cuda,cudnn]'), or use --device cpu"
            )
        source, target = check_graph(
            manifest, _tensors(self._session.get_inputs()), _tensors(self._session.get_outputs())
        )
        if source.type not in PRECISIONS:
            allowed = ", ".join(PRECISIONS)
            raise ManifestError(
                manifest.path,
                [f"the graph's input '{source.name}' is a {source.type}; allowed are {allowed}"],
            )
        self._input, self._output = source.name, target.name
        self._precision = PRECISIONS[source.type]
        on_cpu = provider == CPU
        self._max_batch = min(manifest.max_batch, max_batch or (1 if on_cpu else 256))
        self._runs = threads if on_cpu else 1
        # ONNX Runtime's arena keeps the memory of every run that ever went on at the same time, so
        # what bounds the runs bounds the memory. Without the arena it is worse: on matte-s, 41 MB
        # with it after 2 callers and 128 MB after 8; 211 and 713 MB without, and no faster.
        self._permits = threading.BoundedSemaphore(self._runs)
        self._closing = threading.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        """Library and version: "onnxruntime 1.23.2"."""
        return f"onnxruntime {ort.__version__}"

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda:0"."""
        return self._device

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
        feed: NDArray[Any] = batch if self._precision == "fp32" else batch.astype(np.float16)
        with self._permits:
            if self._closed:
                raise EngineFailed("the engine was closed before this run began")
            try:
                (raw,) = self._session.run([self._output], {self._input: feed})
            except Exception as error:  # ONNX Runtime's classes share no base of their own
                raise EngineFailed(f"{self.name} failed in a run: {_words(error)}") from error
        return np.asarray(raw, np.float32)

    def close(self) -> None:
        """Waits for the runs that go on and frees the session; may be called twice."""
        with self._closing:  # two that gather permits at once could each wait for the other's
            for _ in range(self._runs):
                self._permits.acquire()
            self._closed = True
            self._session = None
            for _ in range(self._runs):
                self._permits.release()


def _provider(device: str) -> tuple[str, str, dict[str, str]]:
    """The device's full name, ONNX Runtime's provider for it and that provider's options."""
    match = DEVICE.fullmatch(device)
    if match is None:
        raise DeviceNotAvailable(
            f"device is {device!r}; allowed are 'auto', 'cpu', 'cuda' and 'cuda:N'"
        )
    if not device.startswith("cuda"):
        return "cpu", CPU, {}
    if CUDA not in ort.get_available_providers():
        raise DeviceNotAvailable(
            f"device '{device}' was asked for, but this onnxruntime {ort.__version__} is built "
            f"without CUDA: run 'pip uninstall onnxruntime' and "
            f"pip install 'onnxruntime-gpu[cuda,cudnn]', or use --device cpu"
        )
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds the CUDA libraries that pip installed
    index = match[1] or "0"
    return f"cuda:{index}", CUDA, {"device_id": index}


def _session(path: Path, provider: str, provider_options: dict[str, str]) -> Any:
    options = ort.SessionOptions()
    # One thread a run, and as many runs as cores: twice the images per second of one run on all
    # cores, and a waiting thread that spins would take a core from another run.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Fatal errors only: what matters is raised, and old exporters cause a page of warnings a load.
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(
            str(path), options, providers=[provider], provider_options=[provider_options]
        )
    except Exception as error:  # ONNX Runtime's classes share no base of their own
        raise EngineFailed(
            f"onnxruntime {ort.__version__} cannot load {path}: {_words(error)}"
        ) from error


def _tensors(declared: Any) -> list[Tensor]:
    return [Tensor(each.name, tuple(each.shape), each.type) for each in declared]


def _words(error: Exception) -> str:
    """The library's own words on one line, cut where they become a dump."""
    return " ".join(str(error).split())[:300] or type(error).__name__
