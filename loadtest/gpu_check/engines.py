"""The engines that can run on this machine, each as a model on the first GPU.

Used by `flow` and `latency`. All run the built-in model's manifest, so that the pipeline does the
same work around each of them.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.gpu_check.sections import ROOT
from loadtest.gpu_check.torch_engine import TorchEngine
from models.device_model import DeviceModel
from models.manifest import Manifest, read_manifest

BUILTIN = ROOT / "models" / "builtin" / "matte-s.toml"
JPEG_LIBRARY = "simplejpeg"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that may be here.

    Attributes:
        name: in the table.
        missing: why it cannot run here, in a sentence; empty when it can.
        open: a model that runs by it, loaded and warm.
    """

    name: str
    missing: str
    open: Callable[[], DeviceModel]


class NotCaptured:
    """An engine that may not be recorded: the same work, launched plainly."""

    can_be_captured = False

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def candidates(folder: Path) -> Iterator[Candidate]:
    """PyTorch first: it needs no plan, so the checks of the flow begin at once.

    Args:
        folder: where plans may be written.
    """
    yield Candidate("torch", _missing_module("torch"), open_torch)
    yield Candidate("onnxruntime", _missing_cuda_provider(), lambda: _load("onnx", folder))
    yield Candidate("tensorrt", _missing_tensorrt(), lambda: _load("tensorrt", folder))


def open_torch() -> DeviceModel:
    """The network of `torch_engine` in the built-in model's place."""
    from kernels.cupy_device import CupyDevice

    device = CupyDevice(0)
    manifest = builtin_manifest()
    engine = TorchEngine(manifest, device.name)
    model = DeviceModel(manifest, engine, "random weights", device, device.new_stream())
    model.warm()
    return model


def uncaptured(model: DeviceModel) -> DeviceModel:
    """The same engine without graphs and with buffers of its own; the stream is the same, since an
    ONNX Runtime session runs on no other.
    """
    plain = DeviceModel(
        model.manifest,
        NotCaptured(model.engine),
        model.weights_sha256,
        model.device,
        model.stream,
    )
    plain.warm()
    return plain


def builtin_manifest() -> Manifest:
    """What the built-in model is."""
    return read_manifest(BUILTIN)


def stand_in_for_jpeg() -> str:
    """Lets the server's codecs load on a machine without their JPEG library; frames here are raw.

    A sentence to show when that was needed, else empty.
    """
    try:
        __import__(JPEG_LIBRARY)
    except ImportError:
        sys.modules[JPEG_LIBRARY] = types.ModuleType(JPEG_LIBRARY)  # any use is an AttributeError
        return f"{JPEG_LIBRARY} is not installed; frames go in and out as raw pixels"
    return ""


def _load(engine: str, folder: Path) -> DeviceModel:
    from models.registry import Registry
    from models.target import Target

    target = Target(0, "tensorrt" if engine == "tensorrt" else "onnx")
    model = Registry(cache_dir=folder).load("matte-s", target, max_batch=4)
    assert isinstance(model, DeviceModel)
    model.warm()
    return model


def _missing_module(name: str) -> str:
    try:
        __import__(name)
    except ImportError as error:
        return f"{name} does not load: {error}"
    return ""


def _missing_cuda_provider() -> str:
    if missing := _missing_module("onnxruntime"):
        return missing
    from models import onnx_session

    if onnx_session.has_cuda():
        return ""
    return f"{onnx_session.NAME} is built without CUDA: needs onnxruntime-gpu in its place"


def _missing_tensorrt() -> str:
    if missing := _missing_module("onnxruntime"):  # every plan is held against ONNX Runtime
        return missing
    from models import tensorrt_library

    return tensorrt_library.missing()
