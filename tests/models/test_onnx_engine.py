"""ONNX Runtime on real little graphs: what fits, what does not, and who may run at once."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import onnx
import onnxruntime
import pytest

from models.errors import EngineFailed, ManifestError
from models.manifest import read_manifest
from models.onnx_engine import OnnxEngine
from tests.fakes.tiny_onnx import tiny_graph, write_tiny_model


def engine(folder, *, graph=None, threads=1, max_batch=0, **settings):
    """An engine on a tiny model; `graph` replaces the weights, other settings the manifest's."""
    manifest = read_manifest(write_tiny_model(folder, "acorn"))
    path = folder / "acorn.onnx"
    if graph is not None:
        path.write_bytes(graph.SerializeToString())
    for table, values in settings.items():
        value = values
        if isinstance(values, dict):
            value = dataclasses.replace(getattr(manifest, table), **values)
        manifest = dataclasses.replace(manifest, **{table: value})
    return OnnxEngine(path, manifest, threads=threads, max_batch=max_batch)


def mismatch(folder, **settings):
    with pytest.raises(ManifestError) as raised:
        engine(folder, **settings)
    prefix = f"{folder / 'acorn.toml'}: "
    return [problem.removeprefix(prefix) for problem in raised.value.problems]


def test_it_says_what_it_is_and_where_it_runs(tmp_path):
    made = engine(tmp_path, threads=3)
    assert made.name == f"onnxruntime {onnxruntime.__version__}"
    assert (made.device, made.precision) == ("cpu", "fp32")
    assert (made.max_batch, made.max_concurrent_runs) == (1, 3)


def test_a_run_gives_the_graphs_output(tmp_path):
    image = np.random.default_rng(1).random((1, 3, 32, 32), np.float32)
    raw = engine(tmp_path).run(image)
    assert raw.dtype == np.float32
    assert np.allclose(raw[:, 0], image.mean(axis=1), atol=1e-6)


def test_tensor_names_may_be_left_out(tmp_path):
    made = engine(tmp_path, input={"tensor": None}, output={"tensor": None})
    assert made.run(np.ones((1, 3, 32, 32), np.float32)).shape == (1, 1, 32, 32)


def test_a_batch_of_any_size_runs_when_the_graph_takes_it(tmp_path):
    made = engine(tmp_path, graph=tiny_graph(batch="n"), max_batch=4)
    assert made.max_batch == 1  # the manifest says 1
    batch = np.random.default_rng(1).random((4, 3, 32, 32), np.float32)
    assert np.allclose(made.run(batch)[:, 0], batch.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(("asked", "expected"), [(0, 1), (4, 4), (100, 8)])
def test_a_cpu_takes_one_image_a_run_unless_more_are_asked_for(tmp_path, asked, expected):
    manifest = read_manifest(write_tiny_model(tmp_path, "oak", max_batch=8))
    made = OnnxEngine(tmp_path / "oak.onnx", manifest, max_batch=asked)
    assert made.max_batch == expected


def test_a_wrong_tensor_name_lists_those_of_the_graph(tmp_path):
    found = mismatch(tmp_path, input={"tensor": "x"}, output={"tensor": "y"})
    assert found == [
        "'input.tensor' is 'x', but the graph's inputs are 'image'",
        "'output.tensor' is 'y', but the graph's outputs are 'alpha'",
    ]


def test_a_wrong_side_names_both_numbers(tmp_path):
    (problem,) = mismatch(tmp_path, input={"width": 64})
    assert problem == (
        "'input.width' is 64, but the graph's input 'image' (1, 3, 32, 32), read as NCHW, has 32"
    )


def test_a_wrong_layout_is_found_by_its_channels(tmp_path):
    found = mismatch(tmp_path, input={"layout": "NHWC"})
    assert any("has 32 channels: allowed are 3" in problem for problem in found)


def test_an_output_without_its_channel_axis_is_found(tmp_path):
    (problem,) = mismatch(tmp_path, graph=tiny_graph(output_rank=2))
    assert problem == (
        "'output.layout' is 'NCHW', but the graph's output 'alpha' has 2 axes (1, 1024): "
        "allowed are 4"
    )


def test_an_output_without_channels_is_read_as_nhw(tmp_path):
    made = engine(tmp_path, graph=tiny_graph(output_rank=3), output={"layout": "NHW"})
    assert made.run(np.ones((1, 3, 32, 32), np.float32)).shape == (1, 32, 32)


def test_two_channels_need_a_choice(tmp_path):
    (problem,) = mismatch(tmp_path, graph=tiny_graph(two_channel=True))
    assert problem.startswith("'output.channel' is missing, and the graph's output")
    assert problem.endswith("has 2: say which is the subject, from 0")


def test_a_channel_that_is_not_there_is_refused(tmp_path):
    (problem,) = mismatch(tmp_path, output={"channel": 1})
    assert problem.endswith("has 1: allowed are 0 to 0")


def test_a_batch_that_the_graph_cannot_take_is_refused(tmp_path):
    (problem,) = mismatch(tmp_path, graph=tiny_graph(batch=4))
    assert problem.startswith(
        "'max_batch' is 1, but the graph's input 'image' (4, 3, 32, 32) always takes 4"
    )


def test_a_graph_that_needs_a_second_input_is_refused(tmp_path):
    graph = tiny_graph()
    extra = onnx.helper.make_tensor_value_info("ratio", onnx.TensorProto.FLOAT, [1])
    graph.graph.input.append(extra)
    (problem,) = mismatch(tmp_path, graph=graph)
    assert "the graph also needs 'ratio': name each in [[states]] when an output is" in problem


def test_half_precision_graphs_run_and_say_so(tmp_path):
    half = onnx.TensorProto.FLOAT16
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("ReduceMean", ["image"], ["alpha"], axes=[1], keepdims=1)],
        "half",
        [onnx.helper.make_tensor_value_info("image", half, [1, 3, 32, 32])],
        [onnx.helper.make_tensor_value_info("alpha", half, [1, 1, 32, 32])],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    made = engine(tmp_path, graph=model)
    raw = made.run(np.full((1, 3, 32, 32), 0.5, np.float32))
    assert made.precision == "fp16"
    assert raw.dtype == np.float32
    assert np.allclose(raw, 0.5)


def test_a_graph_that_eats_bytes_is_refused(tmp_path):
    graph = tiny_graph()
    graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    cast = onnx.helper.make_node("Cast", ["image"], ["floats"], to=onnx.TensorProto.FLOAT)
    graph.graph.node[0].input[0] = "floats"
    graph.graph.node.insert(0, cast)
    (problem,) = mismatch(tmp_path, graph=graph)
    assert problem == (
        "the graph's input 'image' is a tensor(uint8); allowed are tensor(float), tensor(float16)"
    )


def test_weights_that_are_no_onnx_are_refused_in_the_librarys_words(tmp_path):
    manifest = read_manifest(write_tiny_model(tmp_path, "acorn"))
    (tmp_path / "acorn.onnx").write_bytes(b"not a graph")
    with pytest.raises(EngineFailed, match=r"cannot load .*acorn\.onnx: .*INVALID_PROTOBUF"):
        OnnxEngine(tmp_path / "acorn.onnx", manifest)


def test_a_run_of_the_wrong_shape_fails_in_words_and_the_next_one_works(tmp_path):
    made = engine(tmp_path)
    with pytest.raises(EngineFailed, match=r"onnxruntime .* failed in a run: .*dimension"):
        made.run(np.ones((1, 3, 8, 8), np.float32))
    assert made.run(np.ones((1, 3, 32, 32), np.float32)).max() == pytest.approx(1)


def test_no_more_runs_go_on_at_once_than_there_are_threads(tmp_path):
    made = engine(tmp_path, threads=2)
    session, going_on, both_in = made._session, [], threading.Event()
    release = threading.Event()

    class Watched:
        def run(self, *arguments):
            going_on.append(threading.get_ident())
            if len(going_on) == 2:
                both_in.set()
            release.wait(10)
            return session.run(*arguments)

    made._session = Watched()
    image = np.ones((1, 3, 32, 32), np.float32)
    callers = [threading.Thread(target=made.run, args=(image,)) for _ in range(4)]
    for caller in callers:
        caller.start()
    assert both_in.wait(10)
    assert not made._permits.acquire(blocking=False)
    assert len(going_on) == 2
    release.set()
    for caller in callers:
        caller.join()
    assert len(going_on) == 4


def test_closing_from_two_threads_at_once_ends(tmp_path):
    for _ in range(20):
        made = engine(tmp_path, threads=4)
        closers = [threading.Thread(target=made.close) for _ in range(2)]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(10)
        assert not any(closer.is_alive() for closer in closers)


def test_a_closed_engine_refuses_to_run_and_may_be_closed_again(tmp_path):
    made = engine(tmp_path)
    made.close()
    made.close()
    with pytest.raises(EngineFailed, match="was closed before this run began"):
        made.run(np.ones((1, 3, 32, 32), np.float32))
