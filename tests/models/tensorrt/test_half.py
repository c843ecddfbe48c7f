from __future__ import annotations

import importlib.metadata
import importlib.util

import numpy as np
import onnx
import onnxruntime
import pytest

from models.errors import LibraryMissing, PlanNotBuilt
from models.half import CONVERTER, half_twin
from models.registry import BUILTIN_DIR
from models.weights import VerifiedWeights, sha256_of
from tests.fakes.recurrent_onnx import write_pan
from tests.kernels.cuda.tools import missing
from tests.models.tensorrt.conftest import verified

MATTE_S = BUILTIN_DIR / "matte-s.onnx"


@pytest.fixture(autouse=True)
def _converter():
    """It comes with the extra gpu-proof."""
    if importlib.util.find_spec("onnxconverter_common") is None:
        missing("onnxconverter-common, which makes the twin, is not installed")


def test_the_twin_takes_and_gives_half_precision(tiny, tmp_path):
    twin = onnx.load(half_twin(tiny()[1], tmp_path).path)
    kinds = {each.type.tensor_type.elem_type for each in (*twin.graph.input, *twin.graph.output)}
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_the_twin_computes_nearly_the_same(tiny, tmp_path):
    twin = half_twin(tiny()[1], tmp_path)
    image = np.random.default_rng(1).random((1, 3, 32, 32), np.float32)
    (raw,) = onnxruntime.InferenceSession(twin.path).run(None, {"image": image.astype(np.float16)})
    assert np.abs(raw[:, 0] - image.mean(axis=1)).max() < 2e-3  # fp16 has 11 bits


def test_the_same_file_gives_the_same_bytes(tmp_path):
    first = half_twin(verified(MATTE_S), tmp_path / "first")
    second = half_twin(verified(MATTE_S), tmp_path / "second")
    assert first.sha256 == second.sha256 == sha256_of(second.path)
    assert first.path.stat().st_size < 0.6 * MATTE_S.stat().st_size


def test_a_twin_in_the_cache_is_not_made_again(tiny, tmp_path):
    weights = tiny()[1]
    first = half_twin(weights, tmp_path)
    before = first.path.stat().st_mtime_ns
    assert half_twin(weights, tmp_path) == first
    assert first.path.stat().st_mtime_ns == before


@pytest.mark.parametrize("pin", ["right", "missing", "garbage"])
def test_a_damaged_twin_is_made_again(tiny, tmp_path, pin):
    weights = tiny()[1]
    first = half_twin(weights, tmp_path)
    first.path.write_bytes(b"garbage")
    pinned = first.path.with_name(first.path.name + ".sha256")
    if pin == "missing":
        pinned.unlink()
    if pin == "garbage":
        pinned.write_text("garbage")
    assert half_twin(weights, tmp_path) == first
    onnx.load(first.path)


def test_a_file_in_half_precision_is_its_own_twin(tiny, tmp_path):
    twin = half_twin(tiny()[1], tmp_path)
    again = VerifiedWeights(twin.path, twin.sha256)
    assert half_twin(again, tmp_path / "elsewhere") is again


def test_a_file_that_is_no_onnx_is_a_sentence(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"garbage")
    with pytest.raises(PlanNotBuilt, match=r"x\.onnx cannot be converted to fp16 .*fp32"):
        half_twin(verified(path), tmp_path)


def test_without_the_converter_the_sentence_says_what_adds_it(tiny, tmp_path, monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(LibraryMissing, match=f"pip install onnx {CONVERTER}, or ask for fp32"):
        half_twin(tiny()[1], tmp_path)


def test_a_network_whose_nodes_have_no_names_gets_casts_of_their_own(tmp_path):
    weights = verified(write_pan(tmp_path) / "pan.onnx")
    assert all(not node.name for node in onnx.load(weights.path).graph.node)
    graph = onnx.load(half_twin(weights, tmp_path).path).graph
    made = [name for node in graph.node for name in node.output]
    assert len(made) == len(set(made))
    assert {each.type.tensor_type.elem_type for each in graph.input} == {onnx.TensorProto.FLOAT16}
