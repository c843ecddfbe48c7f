"""ONNX Runtime sessions: opened on the provider that was asked for and on no other, and checked
against the manifest.

Used by `models.onnx_engine` and `models.prompt_engine` (CPU) and `models.onnx_device_engine` (GPU).
The one file that imports onnxruntime, the training aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from models.errors import DeviceNotAvailable, EngineFailed, ManifestError
from models.graph_check import Tensor, check_graph
from models.manifest import Manifest

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
NAME = f"onnxruntime {ort.__version__}"
PRECISIONS: dict[str, Literal["fp32", "fp16"]] = {
    "tensor(float)": "fp32",
    "tensor(float16)": "fp16",
}


@dataclass(frozen=True, slots=True)
class Network:
    """An open session and the two of its tensors that the manifest names."""

    session: Any
    source: Tensor
    target: Tensor
    types: Mapping[str, str] = field(default_factory=dict)  # of every input, as the library says

    @property
    def precision(self) -> Literal["fp32", "fp16"]:
        """Numeric precision of the graph's input."""
        return PRECISIONS[self.source.type]


def has_cuda() -> bool:
    """True when this ONNX Runtime is built with CUDA; whether it works shows at the first load."""
    return CUDA in ort.get_available_providers()


def open_network(
    path: Path,
    manifest: Manifest,
    *,
    provider: str = CPU,
    provider_options: dict[str, str] | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> Network:
    """The network of an ONNX file.

    Args:
        path: the ONNX file.
        manifest: what it should be.
        provider: `CPU` or `CUDA`.
        provider_options: as ONNX Runtime takes them.
        input_shape: fixes the sides that the graph leaves open, so that what it computes from them
            folds away; None: they stay open.

    Raises:
        EngineFailed: ONNX Runtime refuses the file.
        ManifestError: the graph is not what the manifest says, or neither fp32 nor fp16.
        DeviceNotAvailable: the provider could not be opened; the CPU is never taken in its place.
    """
    if provider == CUDA and not has_cuda():
        raise DeviceNotAvailable(
            f"engine 'onnx' was asked for on a GPU, but this {NAME} is built without CUDA: run "
            f"'pip uninstall onnxruntime' and pip install 'onnxruntime-gpu[cuda,cudnn]', or use "
            f"--device cpu"
        )
    if provider == CUDA and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds the CUDA libraries that pip installed
    # What is checked is what the file says; with its sides fixed it would say less.
    declared = None if input_shape is None else _session(path, CPU, {}, {})
    fixed: dict[str, int] = {}
    if declared is not None and input_shape is not None:
        source, _ = _checked(declared, manifest)
        named = zip(source.shape, input_shape, strict=True)
        fixed = {name: size for name, size in named if isinstance(name, str)}
    session = _session(path, provider, provider_options or {}, fixed)
    ran_on = session.get_providers()[0]
    if ran_on != provider:  # ONNX Runtime only logs that it fell back
        raise DeviceNotAvailable(
            f"{provider} was asked for, but {NAME} could not open it and would have used {ran_on}: "
            f"check the NVIDIA driver and the CUDA libraries "
            f"(pip install 'onnxruntime-gpu[cuda,cudnn]'), or use --device cpu"
        )
    source, target = _checked(declared or session, manifest)
    if source.type not in PRECISIONS:
        allowed = ", ".join(PRECISIONS)
        raise ManifestError(
            manifest.path,
            [f"the graph's input '{source.name}' is a {source.type}; allowed are {allowed}"],
        )
    return Network(session, source, target, {each.name: each.type for each in session.get_inputs()})


@dataclass(frozen=True, slots=True)
class Graph:
    """An open session with all that its graph declares."""

    session: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def open_graph(path: Path) -> Graph:
    """The graph of an ONNX file on the CPU, whatever tensors it has; the caller checks them.

    Raises:
        EngineFailed: ONNX Runtime refuses the file.
    """
    session = _session(path, CPU, {}, {})
    inputs, outputs = _tensors(session.get_inputs()), _tensors(session.get_outputs())
    return Graph(session, tuple(inputs), tuple(outputs))


def words(error: Exception) -> str:
    """The library's own words on one line, cut where they become a dump."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def run_options(**entries: str) -> Any:
    """ONNX Runtime's options of one run."""
    options = ort.RunOptions()
    for key, value in entries.items():
        options.add_run_config_entry(key, value)
    return options


def _checked(session: Any, manifest: Manifest) -> tuple[Tensor, Tensor]:
    """The input to feed and the output to read, as the manifest says."""
    return check_graph(manifest, _tensors(session.get_inputs()), _tensors(session.get_outputs()))


def _session(
    path: Path, provider: str, provider_options: dict[str, str], fixed: dict[str, int]
) -> Any:
    options = ort.SessionOptions()
    # One thread a run, and as many runs as cores: twice the images per second of one run on all
    # cores, and a waiting thread that spins would take a core from another run.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    for name, size in fixed.items():
        options.add_free_dimension_override_by_name(name, size)
    # Fatal errors only: what matters is raised, and old exporters cause a page of warnings a load.
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(
            str(path), options, providers=[provider], provider_options=[provider_options]
        )
    except Exception as error:  # ONNX Runtime's classes share no base of their own
        raise EngineFailed(f"{NAME} cannot load {path}: {words(error)}") from error


def _tensors(declared: Any) -> list[Tensor]:
    return [Tensor(each.name, tuple(each.shape), each.type) for each in declared]
