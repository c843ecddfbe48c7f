"""TensorRT-RTX for tests that build real plans, and models to build them from."""

from __future__ import annotations

import os

import pytest

from models.errors import LibraryMissing
from models.fixed_graph import fixed_twin
from models.manifest import read_manifest
from models.tensorrt_library import open_tensorrt
from models.tensorrt_plans import PlanRequest
from models.weights import VerifiedWeights, sha256_of
from tests.fakes.recurrent_onnx import write_echo, write_pan
from tests.fakes.tiny_onnx import write_tiny_model


@pytest.fixture(scope="session")
def library():
    """TensorRT-RTX, which builds without a GPU."""
    try:
        return open_tensorrt("tensorrt-rtx")
    except LibraryMissing as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must build real plans, but {error}")
        pytest.skip(f"real plans cannot be built here: {error}")


@pytest.fixture
def tiny(tmp_path):
    """A function that writes a tiny model and gives its manifest and weights."""

    def write(name="tiny", **settings):
        manifest = read_manifest(write_tiny_model(tmp_path, name, **settings))
        return manifest, verified(tmp_path / f"{name}.onnx")

    return write


@pytest.fixture
def recurrent(tmp_path):
    """A function that gives a small recurrent network as it is on a device: its manifest and
    weights.
    """

    def write(name):
        manifest = read_manifest(write_pan(write_echo(tmp_path)) / f"{name}.toml")
        return fixed_twin(manifest, verified(tmp_path / f"{name}.onnx"), tmp_path / "cache")

    return write


@pytest.fixture
def echo(recurrent):
    """alpha = after = the mean of brightness and `before`."""
    return recurrent("echo")


@pytest.fixture
def request_for(library, tmp_path):
    """A function that gives a request for plans of a model, with its cache in the test's folder."""

    def make(model, **settings):
        manifest, weights = model
        wanted = {"gpu_name": "none", "capability": "0.0", "cache_dir": tmp_path / "cache"}
        return PlanRequest(manifest, weights, library, **{**wanted, **settings})

    return make


def verified(path):
    return VerifiedWeights(path, sha256_of(path))
