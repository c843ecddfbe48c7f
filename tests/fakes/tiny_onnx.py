"""Real ONNX models of a few hundred bytes whose alpha anyone can predict: the brightness of the
input.

Used by tests of models, server and SDK: `from tests.fakes.tiny_onnx import write_tiny_model`. A
white image gives alpha 1, a black one alpha 0; without softmax a grey of 128 gives 128 / 255.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STEEPNESS = (
    20.0  # of the two-channel model: softmax of (-s, s) with s = STEEPNESS * (brightness - 0.5)
)


def write_tiny_model(
    folder: Path,
    name: str = "tiny",
    *,
    side: int = 32,
    layout: str = "NCHW",
    two_channel: bool = False,
    activation: str | None = None,
    fit: str = "stretch",
    max_batch: int = 1,
    dynamic_batch: bool | None = None,
    license: str = "Apache-2.0",  # noqa: A002
    commercial_use: bool = True,
    pinned: bool = True,
    gain: float = 1.0,
    bias: float = 0.0,
    work: int = 0,
    extra_toml: str = "",
) -> Path:
    """Path of `folder`/name.toml, with name.onnx written beside it.

    Args:
        folder: an existing folder; give it to the server as a model folder.
        name: the model's name and the files' stem.
        side: width and height of the network's input in pixels.
        layout: "NCHW" or "NHWC", of input and output.
        two_channel: the net gives two logits and the manifest says softmax, channel 1.
        activation: the manifest's activation; default "softmax" with `two_channel`, else "none".
        fit: the manifest's fit.
        max_batch: the manifest's max_batch.
        dynamic_batch: the graph takes any number of images; default: when `max_batch` is above 1.
        license: the manifest's licence.
        commercial_use: the manifest's commercial_use.
        pinned: write the weights' sha256 into the manifest.
        gain: raw output is gain * brightness + bias (one channel only).
        bias: see `gain`.
        work: extra 3x3 convolutions over 32 channels that change nothing but take time: about 0.1
            ms each at side 32 on one core, growing with the area. For tests that need a slow model.
        extra_toml: lines put at the manifest's top level.
    """
    batch: int | str = "batch" if (max_batch > 1 if dynamic_batch is None else dynamic_batch) else 1
    model = tiny_graph(
        side=side,
        layout=layout,
        two_channel=two_channel,
        batch=batch,
        gain=gain,
        bias=bias,
        work=work,
    )
    weights = model.SerializeToString()
    (folder / f"{name}.onnx").write_bytes(weights)
    activation = activation or ("softmax" if two_channel else "none")
    lines = [
        f'name = "{name}"',
        'version = "1"',
        'description = "Alpha is the brightness of the image."',
        f'license = "{license}"',
        f"commercial_use = {str(commercial_use).lower()}",
        f"max_batch = {max_batch}",
        extra_toml,
        "[weights]",
        f'file = "{name}.onnx"',
        f'sha256 = "{hashlib.sha256(weights).hexdigest()}"' if pinned else "",
        "[input]",
        'tensor = "image"',
        f"width = {side}",
        f"height = {side}",
        f'layout = "{layout}"',
        f'fit = "{fit}"',
        "[output]",
        'tensor = "alpha"',
        "channel = 1" if two_channel else "",
        f'activation = "{activation}"',
    ]
    manifest = folder / f"{name}.toml"
    manifest.write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
    return manifest


def tiny_graph(
    *,
    side: int = 32,
    layout: str = "NCHW",
    two_channel: bool = False,
    batch: int | str = 1,
    gain: float = 1.0,
    bias: float = 0.0,
    work: int = 0,
    output_rank: int = 4,
) -> onnx.ModelProto:
    """The graph alone: "image" in, "alpha" out; `output_rank` 3 leaves the channel axis out, 2 is
    nonsense.
    """
    channels = 2 if two_channel else 1
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(name: str, values: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(operator: str, inputs: list[str], name: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    x = "image"
    if layout == "NHWC":
        x = add("Transpose", [x], "as_nchw", perm=[0, 3, 1, 2])
    if two_channel:
        kernel = np.array([[-STEEPNESS / 3] * 3, [STEEPNESS / 3] * 3], np.float32)
        offset = np.array([STEEPNESS / 2, -STEEPNESS / 2], np.float32)
    else:
        kernel = np.full((1, 3), gain / 3, np.float32)
        offset = np.array([bias], np.float32)
    if work:
        x = _add_work(x, work, constant, add)
    kernel_name = constant("kernel", kernel[:, :, None, None])
    x = add("Conv", [x, kernel_name, constant("offset", offset)], "mixed", kernel_shape=[1, 1])
    if layout == "NHWC":
        x = add("Transpose", [x], "as_nhwc", perm=[0, 2, 3, 1])
    if output_rank == 3:
        axis = 3 if layout == "NHWC" else 1
        x = add("Squeeze", [x, constant("axis", np.array([axis], np.int64))], "squeezed")
    if output_rank == 2:
        x = add("Flatten", [x], "flat", axis=1)
    nodes[-1].output[0] = "alpha"

    plane = [side, side]
    input_shape = [batch, 3, *plane] if layout == "NCHW" else [batch, *plane, 3]
    output_shapes = {
        4: [batch, channels, *plane] if layout == "NCHW" else [batch, *plane, channels],
        3: [batch, *plane],
        2: [batch, channels * side * side],
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, output_shapes[output_rank])],
        constants,
    )
    # IR 8 and opset 17 are read by every ONNX Runtime that pyproject.toml allows.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _add_work(x: str, work: int, constant: object, add: object) -> str:
    """Widens to 32 channels, runs `work` identity convolutions 3x3, and narrows to 3 channels
    again.
    """
    assert callable(constant)
    assert callable(add)
    widen = np.zeros((32, 3, 1, 1), np.float32)
    widen[:3, :, 0, 0] = np.eye(3)
    identity = np.zeros((32, 32, 3, 3), np.float32)
    identity[:, :, 1, 1] = np.eye(32)
    x = add("Conv", [x, constant("widen", widen)], "wide", kernel_shape=[1, 1])
    same = constant("identity", identity)
    for step in range(work):
        x = add("Conv", [x, same], f"work{step}", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    narrow = constant("narrow", np.ascontiguousarray(widen.transpose(1, 0, 2, 3)))
    return str(add("Conv", [x, narrow], "narrow_again", kernel_shape=[1, 1]))
