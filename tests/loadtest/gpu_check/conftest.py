"""An emulated device, and a tiny model on it."""

from __future__ import annotations

import pytest

from kernels.device import Device
from models.device_model import DeviceModel
from tests.fakes.emulated_device import EmulatedDevice
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.tiny_onnx import write_tiny_model


@pytest.fixture
def device() -> Device:
    return EmulatedDevice()


@pytest.fixture(scope="module", params=[True, False], ids=["in order", "late"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DeviceModel:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder, "tiny", max_batch=4)
    model = EmulatedRegistry((folder,), late=request.param).load("tiny")
    model.warm()
    return model
