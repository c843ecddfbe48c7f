"""The twin of a network in which nothing is open gives what the original gives, frame by frame."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models.errors import EngineFailed, LibraryMissing
from models.fixed_graph import fixed_twin
from models.manifest import Manifest, read_manifest
from models.onnx_engine import OnnxEngine
from models.weights import VerifiedWeights, sha256_of
from tests.fakes.recurrent_onnx import ECHO, write_echo, write_pan
from tests.fakes.tiny_onnx import write_tiny_model


def model_in(folder: Path, name: str) -> tuple[Manifest, VerifiedWeights]:
    path = folder / f"{name}.onnx"
    return read_manifest(folder / f"{name}.toml"), VerifiedWeights(path, sha256_of(path))


@pytest.fixture
def echo(tmp_path: Path) -> tuple[Manifest, VerifiedWeights]:
    return model_in(write_echo(tmp_path), "echo")


def sides(path: Path) -> dict[str, tuple[int, ...]]:
    graph = onnx.load(path).graph
    return {
        each.name: tuple(side.dim_value for side in each.type.tensor_type.shape.dim)
        for each in (*graph.input, *graph.output)
    }


def test_constants_are_weights_and_states_have_sides_of_numbers(
    echo: tuple[Manifest, VerifiedWeights], tmp_path: Path
) -> None:
    fixed, twin = fixed_twin(*echo, tmp_path)
    plane = (1, 1, 16, 16)
    seen = sides(twin.path)
    assert seen == {"image": (1, 3, 16, 16), "before": plane, "alpha": plane, "after": plane}
    assert [state.shape for state in fixed.states] == [plane]
    assert fixed.constants == {}


def test_a_state_gets_the_shape_that_the_network_hands_on(tmp_path: Path) -> None:
    fixed, twin = fixed_twin(*model_in(write_pan(tmp_path), "pan"), tmp_path)
    assert [state.shape for state in fixed.states] == [(1, 4, 16, 24)]
    assert sides(twin.path)["r1o"] == sides(twin.path)["r1i"] == (1, 4, 16, 24)


@pytest.mark.parametrize("name", ["echo", "pan"])
def test_the_twin_answers_what_the_original_answers(tmp_path: Path, name: str) -> None:
    original = model_in(write_pan(write_echo(tmp_path)), name)
    twin = fixed_twin(*original, tmp_path)
    engines = [OnnxEngine(weights.path, manifest) for manifest, weights in (original, twin)]
    states: list[Any] = [None, None]
    for seed in range(4):
        shape = (1, *twin[0].input.shape)
        image = np.random.default_rng(seed).random(shape, np.float32)
        raw = []
        for place, engine in enumerate(engines):
            answer, states[place] = engine.step(image, states[place])
            raw.append(answer)
        assert np.abs(raw[0] - raw[1]).max() <= 1e-6  # sums in another order
    for engine in engines:
        engine.close()


def test_the_twin_is_made_once_and_again_when_it_is_damaged(
    echo: tuple[Manifest, VerifiedWeights], tmp_path: Path
) -> None:
    _, first = fixed_twin(*echo, tmp_path)
    made_at = first.path.stat().st_mtime_ns
    _, again = fixed_twin(*echo, tmp_path)
    assert (again, again.path.stat().st_mtime_ns) == (first, made_at)
    first.path.write_bytes(b"damaged")
    _, mended = fixed_twin(*echo, tmp_path)
    assert mended == first
    assert sha256_of(mended.path) == first.sha256


def test_other_constants_are_another_twin(
    echo: tuple[Manifest, VerifiedWeights], tmp_path: Path
) -> None:
    _, first = fixed_twin(*echo, tmp_path)
    (tmp_path / "echo.toml").write_text(ECHO.replace("[0.5]", "[0.25]"))
    _, other = fixed_twin(*model_in(tmp_path, "echo"), tmp_path)
    assert other.path != first.path
    assert first.path.is_file()


def test_a_network_with_nothing_open_is_its_own_twin(tmp_path: Path) -> None:
    write_tiny_model(tmp_path, "acorn", max_batch=4)
    model = model_in(tmp_path, "acorn")
    assert fixed_twin(*model, tmp_path) == model


def test_constants_without_states_leave_the_batch_open(tmp_path: Path) -> None:
    write_tiny_model(tmp_path, "acorn", max_batch=4, extra_toml="", pinned=False)
    graph = onnx.load(tmp_path / "acorn.onnx")
    graph.graph.node[-1].output[0] = "whole"
    graph.graph.node.append(helper.make_node("Mul", ["whole", "share"], ["alpha"]))
    graph.graph.input.append(helper.make_tensor_value_info("share", TensorProto.FLOAT, [1]))
    (tmp_path / "acorn.onnx").write_bytes(graph.SerializeToString())
    toml = tmp_path / "acorn.toml"
    toml.write_text(toml.read_text() + "[constants]\nshare = [0.25]\n")
    fixed, twin = fixed_twin(*model_in(tmp_path, "acorn"), tmp_path)
    assert fixed.max_batch == 4
    engine = OnnxEngine(twin.path, fixed, max_batch=4)
    assert engine.run(np.ones((3, 3, 32, 32), np.float32)).ravel() == pytest.approx(0.25)
    engine.close()


def test_a_state_that_grows_from_frame_to_frame_is_refused_by_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["alpha"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["before", "alpha"], ["after"], axis=1),
    ]

    def tensor(name: str, shape: list[object]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "grows",
        [tensor("image", [1, 3, 16, 16]), tensor("before", [1, "n", 16, 16])],
        [tensor("alpha", [1, 1, 16, 16]), tensor("after", [1, "more", 16, 16])],
    )
    opsets = [helper.make_opsetid("", 17)]
    grows = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    (tmp_path / "echo.onnx").write_bytes(grows.SerializeToString())
    manifest = ECHO.replace("shape = [1, 1, 1, 1]", "shape = [1, 1, 16, 16]")
    (tmp_path / "echo.toml").write_text(manifest.partition("[constants]")[0])
    with pytest.raises(EngineFailed) as raised:
        fixed_twin(*model_in(tmp_path, "echo"), tmp_path)
    assert "state 'before' on as [1, 2, 16, 16] after the first frame" in str(raised.value)
    assert "start with --device cpu" in str(raised.value)


def test_without_onnx_the_sentence_says_what_to_install(
    echo: tuple[Manifest, VerifiedWeights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "onnx":
            raise ImportError("No module named 'onnx'", name="onnx")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LibraryMissing, match="pip install onnx, or start with --device cpu"):
        fixed_twin(*echo, tmp_path)


def test_a_cache_that_cannot_be_written_is_a_sentence(
    echo: tuple[Manifest, VerifiedWeights], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EngineFailed, match="the twin of model 'echo' cannot be kept in"):
        fixed_twin(*echo, tmp_path / "file")


def test_a_graph_that_cannot_be_rewritten_is_a_sentence(
    echo: tuple[Manifest, VerifiedWeights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: object) -> None:
        raise ValueError("the checker says no")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(EngineFailed, match=r"cannot be fixed for a GPU \(the checker says no\)"):
        fixed_twin(*echo, tmp_path)
