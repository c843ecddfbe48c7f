"""Real plans by TensorRT-RTX: what is built, what is refused and in which words."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.errors import BuildCancelled, ManifestError, PlanNotBuilt
from models.half import half_twin
from models.manifest import read_manifest
from models.registry import BUILTIN_DIR
from models.tensorrt_builder import BuildSettings, build_plan, usable_buckets
from models.weights import VerifiedWeights, sha256_of

HERE = Path(__file__).parent
SHARED = HERE.parents[3] / "shared" / "models"
MANIFESTS = HERE.parent / "manifests"
OTHERS = ("mediapipe-landscape", "mediapipe-selfie", "sinet")


def build(library, model, precision="fp32", buckets=(1,), **more):
    manifest, weights = model
    settings = BuildSettings(precision, buckets)
    return build_plan(library, weights.path, manifest, settings, **more)


def refusal(library, model, kind=PlanNotBuilt, **more):
    with pytest.raises(kind) as raised:
        build(library, model, **more)
    return str(raised.value)


def replaced(model, graph):
    manifest, weights = model
    weights.path.write_bytes(graph.SerializeToString())
    return manifest, weights


def in_precision(manifest, path, precision, folder):
    weights = VerifiedWeights(path, sha256_of(path))
    return manifest, weights if precision == "fp32" else half_twin(weights, folder)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_built_in_model_becomes_a_plan_for_four_batch_sizes(library, precision, tmp_path):
    manifest = read_manifest(BUILTIN_DIR / "matte-s.toml")
    model = in_precision(manifest, BUILTIN_DIR / "matte-s.onnx", precision, tmp_path)
    plan = build(library, model, precision, (1, 2, 4, 8))
    assert len(plan) > 1_000_000


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", OTHERS)
def test_models_of_others_become_plans(library, name, precision, tmp_path):
    if not SHARED.is_dir():
        pytest.skip("the models of ../shared are not beside this checkout")
    shutil.copy(MANIFESTS / f"{name}.toml", tmp_path)
    manifest = read_manifest(tmp_path / f"{name}.toml")
    path = SHARED / manifest.weights.file.name
    assert build(library, in_precision(manifest, path, precision, tmp_path), precision)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_both_layouts_become_plans(library, tiny, layout):
    assert build(library, tiny(layout=layout, max_batch=4), buckets=(1, 4))


def test_a_graph_of_one_image_becomes_a_plan_for_one(library, tiny):
    assert build(library, tiny(dynamic_batch=False))


def test_batch_sizes_above_the_models_own_fall_away(tiny):
    manifest, _ = tiny(max_batch=4)
    assert usable_buckets(manifest, (8, 4, 1, 2, 2)) == (1, 2, 4)


def test_no_batch_size_left_is_a_sentence(tiny):
    manifest, _ = tiny()
    with pytest.raises(PlanNotBuilt, match=r"batch sizes 2, 4 were asked for, .* takes 1 to 1"):
        usable_buckets(manifest, (2, 4))


def test_a_batch_that_the_graph_does_not_take_is_a_sentence(library, tiny):
    said = refusal(library, tiny(dynamic_batch=False), buckets=(2,))
    assert "tensorrt-rtx" in said
    assert "2" in said


def test_bytes_that_are_no_onnx_are_a_sentence(library, tiny):
    model = tiny()
    model[1].path.write_bytes(b"garbage" * 1000)
    assert "cannot read" in refusal(library, model)
    assert "Failed to parse" in refusal(library, model)


def test_an_operator_that_it_does_not_know_is_named_with_its_node(library, tiny):
    manifest, weights = tiny()
    graph = onnx.load(weights.path)
    graph.graph.node[-1].output[0] = "before"
    graph.graph.node.append(helper.make_node("Snip", ["before"], ["alpha"], "snipper", domain="x"))
    graph.opset_import.append(helper.make_opsetid("x", 1))
    said = refusal(library, replaced((manifest, weights), graph))
    assert "node 'snipper' (Snip)" in said
    assert "engine onnx" in said


def test_asymmetric_int8_is_a_sentence(library, tiny):
    manifest, weights = tiny()
    graph = onnx.load(weights.path)
    scale = numpy_helper.from_array(np.float32(1 / 255), "scale")
    zero = numpy_helper.from_array(np.uint8(7), "zero")
    graph.graph.initializer.extend([scale, zero])
    graph.graph.node[-1].output[0] = "before"
    graph.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["before", "scale", "zero"], ["q"], "quantise"),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["alpha"], "back"),
        ]
    )
    said = refusal(library, replaced((manifest, weights), graph))
    assert "symmetric Q/DQ" in said


def test_a_graph_unlike_its_manifest_is_refused_before_anything_is_built(library, tiny):
    manifest, weights = tiny()
    wrong = dataclasses.replace(manifest, input=dataclasses.replace(manifest.input, width=64))
    said = refusal(library, (wrong, weights), ManifestError)
    assert "'input.width' is 64, but the graph's input 'image'" in said


def test_a_file_in_the_wrong_precision_is_refused(library, tiny):
    said = refusal(library, tiny(), precision="fp16")
    assert "'image' is fp32, and a plan in fp16 was asked for: ask for precision fp32" in said


def test_an_output_of_whole_numbers_is_refused(library, tiny):
    manifest, weights = tiny()
    graph = onnx.load(weights.path)
    graph.graph.node[-1].output[0] = "before"
    graph.graph.node.append(helper.make_node("Cast", ["before"], ["alpha"], to=TensorProto.INT32))
    graph.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    said = refusal(library, replaced((manifest, weights), graph))
    assert "allowed are tensor(float) and tensor(float16)" in said


@pytest.fixture
def built(library, monkeypatch):
    """Of the network that was built last, name, type and shape of each input and output."""
    builder, seen = library.module.Builder, []
    real = builder.build_serialized_network

    def build_and_look(self, network, config):
        tensors = [network.get_input(index) for index in range(network.num_inputs)]
        tensors += [network.get_output(index) for index in range(network.num_outputs)]
        seen[:] = [(each.name, each.dtype.name, tuple(each.shape)) for each in tensors]
        return real(self, network, config)

    monkeypatch.setattr(builder, "build_serialized_network", build_and_look)
    return seen


def test_outputs_that_nobody_reads_are_taken_out_of_the_plan(library, tiny, built):
    manifest, weights = tiny(work=2)
    graph = onnx.load(weights.path)
    for name in ("work0", "work1"):
        shape = [1, 32, 32, 32]
        graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    build(library, replaced((manifest, weights), graph))
    assert [name for name, _, _ in built] == ["image", "alpha"]


RECURRENT = {
    "echo": {
        "image": (1, 3, 16, 16),
        "before": (1, 1, 16, 16),
        "alpha": (1, 1, 16, 16),
        "after": (1, 1, 16, 16),
    },
    "pan": {
        "src": (1, 3, 32, 48),
        "r1i": (1, 4, 16, 24),
        "pha": (1, 1, 32, 48),
        "r1o": (1, 4, 16, 24),
    },
}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_network_becomes_a_plan_that_hands_its_states_on(
    library, recurrent, built, name, precision
):
    manifest, weights = recurrent(name)
    assert build(
        library, in_precision(manifest, weights.path, precision, weights.path.parent), precision
    )
    kind = {"fp32": "FLOAT", "fp16": "HALF"}[precision]
    assert built == [(tensor, kind, shape) for tensor, shape in RECURRENT[name].items()]


def test_progress_grows_to_the_end_and_names_what_goes_on(library, tiny):
    told = []
    build(library, tiny(), on_progress=lambda phase, fraction: told.append((phase, fraction)))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert len(set(fractions)) > 5
    assert all(phase for phase, _ in told)


def test_a_build_ends_when_it_is_cancelled(library, tiny):
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > 3

    said = refusal(library, tiny(), BuildCancelled, cancelled=cancelled)
    assert "cancelled" in said
    assert len(asked) < 20  # of more than a hundred steps


def test_what_a_progress_callback_raises_ends_the_build_and_arrives(library, tiny):
    def broken(phase, fraction):
        raise RuntimeError("the bar is broken")

    with pytest.raises(RuntimeError, match="the bar is broken"):
        build(library, tiny(), on_progress=broken)


def test_a_plan_says_nothing_of_the_next_failure(library, tiny):
    first = tiny("first")
    first[1].path.write_bytes(b"garbage")
    assert "first.onnx" in refusal(library, first)
    said = refusal(library, tiny("second", dynamic_batch=False), buckets=(2,))
    assert "first" not in said
    assert "Failed to parse" not in said


def test_what_asking_for_cancellation_raises_ends_the_build_and_arrives(library, tiny):
    def broken():
        raise RuntimeError("nobody to ask")

    with pytest.raises(RuntimeError, match="nobody to ask"):
        build(library, tiny(), cancelled=broken)
