"""The GPU's pipeline on the emulated device, beside the CPU's on the same models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.device_model import DeviceModel
from models.model import Model
from models.registry import Registry
from server.codecs.header import Limits
from server.device_pipeline import DevicePipeline
from server.host_pipeline import HostPipeline
from tests.fakes.emulated_device import EmulatedDevice
from tests.fakes.emulated_engine import EmulatedEngine, EmulatedRegistry
from tests.fakes.tiny_onnx import write_tiny_model
from tests.kernels.cuda.tools import missing

LIMITS = Limits(max_megapixels=10, max_side_px=5000)


@pytest.fixture(autouse=True)
def _needs_gcc() -> None:
    if shutil.which("g++") is None:
        missing("kernels run on the CPU through g++, which is not installed")


@dataclass
class OnDevice:
    """A model on the emulated device, and its stages."""

    device: EmulatedDevice
    model: DeviceModel
    engine: EmulatedEngine
    pipeline: DevicePipeline
    launches: list[bool]  # of every run: was it a graph?


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ "brightness" (up to 4 a run), "boxed" (letterbox), "nan" (answers no numbers)."""
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, "brightness", max_batch=4)
    write_tiny_model(made, "boxed", fit="letterbox", layout="NHWC", two_channel=True)
    write_tiny_model(made, "nan", gain=float("nan"), max_batch=4)
    return made


# "late": queued work runs only when something waits for it, so a missing wait shows as garbage.
@pytest.fixture(params=[False, True], ids=["at once", "late"])
def brightness(folder: Path, request: pytest.FixtureRequest) -> Iterator[OnDevice]:
    """A real ONNX model whose alpha is the image's brightness."""
    yield from on_device(folder, "brightness", late=request.param)


def on_device(folder: Path, name: str, *, late: bool = True) -> Iterator[OnDevice]:
    """The model `name`, loaded and warm; freed afterwards."""
    device = EmulatedDevice(late=late)
    registry = EmulatedRegistry((folder,), device)
    model = registry.load(name)
    if name != "nan":
        model.warm()
    launches: list[bool] = []
    pipeline = DevicePipeline(model, LIMITS, on_launch=launches.append)
    yield OnDevice(device, model, registry.engines[name], pipeline, launches)
    pipeline.free()
    model.close()


def on_host(folder: Path, name: str = "brightness") -> tuple[HostPipeline, Model]:
    """The same model on the CPU's path."""
    model = Registry([folder], shipped_dirs=()).load(name)
    assert isinstance(model, Model)
    return HostPipeline(model, LIMITS), model


@pytest.fixture(scope="module")
def gpu_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ "tiny" (up to 4 a run)."""
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, "tiny", max_batch=4)
    return made
