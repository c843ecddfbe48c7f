"""Real recurrent ONNX models of a few hundred bytes: what they remember is easily told.

Used by tests of models and server. `write_echo`: each alpha is the mean of its frame's brightness
and of the alpha before. `write_pan`: much the same, made as video matting networks are: open sides,
a state of several channels at a smaller size, and a constant that decides which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ECHO = """
name = "echo"
version = "1"
description = "Remembers."
license = "Apache-2.0"
commercial_use = true
[weights]
file = "echo.onnx"
[input]
tensor = "image"
width = 16
height = 16
[output]
tensor = "alpha"
[[states]]
input = "before"
output = "after"
shape = [1, 1, 1, 1]
[constants]
share = [0.5]
"""

PAN = """
name = "pan"
version = "1"
description = "Remembers at half the size."
license = "Apache-2.0"
commercial_use = true
[weights]
file = "pan.onnx"
[input]
tensor = "src"
width = 48
height = 32
[output]
tensor = "pha"
[[states]]
input = "r1i"
output = "r1o"
shape = [1, 1, 1, 1]
[constants]
downsample_ratio = [0.5]
"""


def write_echo(folder: Path, manifest: str = ECHO) -> Path:
    """alpha = after = brightness * (1 - share) + before * share; the folder, for a registry."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["bright"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["bright", "before"], ["step"]),
        helper.make_node("Mul", ["step", "share"], ["moved"]),
        helper.make_node("Sub", ["bright", "moved"], ["alpha"]),
        helper.make_node("Identity", ["alpha"], ["after"]),
    ]
    plane = [1, 1, 16, 16]
    inputs = [_tensor("image", [1, 3, 16, 16]), _tensor("before", [1, 1, "h", "w"])]
    outputs = [_tensor("alpha", plane), _tensor("after", plane)]
    inputs.append(_tensor("share", [1]))
    (folder / "echo.onnx").write_bytes(_graph(nodes, inputs, outputs, {}))
    (folder / "echo.toml").write_text(manifest, encoding="utf-8")
    return folder


def write_pan(folder: Path) -> Path:
    """pha = brightness at a smaller size, averaged over the frames, and large again; the folder."""
    weights: dict[str, np.ndarray[Any, Any]] = {
        "one": np.ones(1, np.float32),
        "spread": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]], np.float32)[
            :, :, None, None
        ],
        "gather": np.full((1, 4, 1, 1), 0.25, np.float32),
        "half": np.full(1, 0.5, np.float32),
        "first": np.array([2], np.int64),
        "last": np.array([4], np.int64),
        "heads": np.array([1, 1], np.int64),
        "most": np.array(1, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Concat", ["one", "one", "downsample_ratio", "downsample_ratio"], ["scales"], axis=0),
        node("Resize", ["src", "", "scales"], ["small"], mode="linear"),
        node("Conv", ["small", "spread"], ["seen"]),
        node("Shape", ["seen"], ["seen_shape"]),
        node("Expand", ["r1i", "seen_shape"], ["before"]),  # one zero becomes a plane of them
        node("Add", ["seen", "before"], ["sum"]),
        node("Mul", ["sum", "half"], ["r1o"]),
        node("Conv", ["r1o", "gather"], ["mixed"]),
        node("Shape", ["src"], ["src_shape"]),
        node("Slice", ["src_shape", "first", "last"], ["sides"]),
        node("Concat", ["heads", "sides"], ["full"], axis=0),
        node("Resize", ["mixed", "", "", "full"], ["large"], mode="linear"),
        node("Clip", ["large", "", "most"], ["pha"]),
    ]
    inputs = [
        _tensor("src", ["batch", 3, "height", "width"]),
        _tensor("r1i", ["b1", "c1", "h1", "w1"]),
        _tensor("downsample_ratio", [1]),
    ]
    outputs = [
        _tensor("pha", ["batch", 1, "height", "width"]),
        _tensor("r1o", ["b2", "c2", "h2", "w2"]),
    ]
    (folder / "pan.onnx").write_bytes(_graph(nodes, inputs, outputs, weights))
    (folder / "pan.toml").write_text(PAN, encoding="utf-8")
    return folder


def _tensor(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _graph(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray[Any, Any]],
) -> bytes:
    constants = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "recurrent", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
