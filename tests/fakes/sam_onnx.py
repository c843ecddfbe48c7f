"""A promptable model of two small ONNX files with the tensors of the Segment Anything family's
exports, whose answer anyone can predict: a disc around the mean of the wanted places.

Used by tests: `from tests.fakes.sam_onnx import write_sam_model`. The mask's logit at a pixel is
(RADIUS - distance to the centre) * brightness of the picture there, in pixels of the plane; the
centre is the mean of all places with a label above 0, so of a box it is the middle.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64
RADIUS = 12.0


def write_sam_model(folder: Path, name: str = "disc", *, kind: str = "sam") -> Path:
    """Path of `folder`/name.toml, both ONNX files written beside it.

    Args:
        folder: an existing folder.
        name: the model's name.
        kind: "sam": an encoder of (h, w, 3) of any size, four masks of the size asked for;
            "efficient": an axis of queries, names of its own, one plane for every picture.
    """
    efficient = kind == "efficient"
    encoder = _encoder(efficient).SerializeToString()
    decoder = _decoder(efficient).SerializeToString()
    (folder / f"{name}-encoder.onnx").write_bytes(encoder)
    (folder / f"{name}-decoder.onnx").write_bytes(decoder)
    lines = [
        f'name = "{name}"',
        'version = "1"',
        'description = "A disc around what is pointed at."',
        'license = "Apache-2.0"',
        "commercial_use = true",
        "[weights]",
        f'file = "{name}-encoder.onnx"',
        f'sha256 = "{hashlib.sha256(encoder).hexdigest()}"',
        "[input]",
        f"width = {SIDE}",
        f"height = {SIDE}",
        'layout = "NCHW"' if efficient else 'layout = "NHWC"',
        'fit = "stretch"' if efficient else 'fit = "corner"',
        "[output]",
        'tensor = "output_masks"' if efficient else 'tensor = "masks"',
        'activation = "sigmoid"',
        "[decoder]",
        'prompts = "points"',
        "exclude = false" if efficient else "",
        "padding_point = false" if efficient else "",
        "[decoder.weights]",
        f'file = "{name}-decoder.onnx"',
        f'sha256 = "{hashlib.sha256(decoder).hexdigest()}"',
        *(
            [
                "[decoder.tensors]",
                'points = "batched_point_coords"',
                'labels = "batched_point_labels"',
            ]
            if efficient
            else []
        ),
    ]
    manifest = folder / f"{name}.toml"
    manifest.write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
    return manifest


def _encoder(efficient: bool) -> onnx.ModelProto:
    """The picture's brightness, (1, 1, SIDE, SIDE), filled up with 0 where it is smaller."""
    if efficient:
        shape: list[int | str] = ["batch", 3, "height", "width"]
        nodes = [
            helper.make_node("ReduceMean", ["picture"], ["image_embeddings"], axes=[1], keepdims=1)
        ]
        return _model(nodes, [("picture", TensorProto.FLOAT, shape)], {"image_embeddings": 4}, {})
    constants = {"plane": np.array([SIDE, SIDE], np.int64), "zeros": np.zeros(2, np.int64)}
    nodes = [
        helper.make_node("ReduceMean", ["picture"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("Shape", ["mean"], ["sides"]),
        helper.make_node("Sub", ["plane", "sides"], ["missing"]),
        helper.make_node("Concat", ["zeros", "missing"], ["pads"], axis=0),
        helper.make_node("Pad", ["mean", "pads"], ["padded"]),
        helper.make_node("Unsqueeze", ["padded", "front"], ["image_embeddings"]),
    ]
    constants["front"] = np.array([0, 1], np.int64)
    inputs = [("picture", TensorProto.FLOAT, ["height", "width", 3])]
    return _model(nodes, inputs, {"image_embeddings": 4}, constants)


def _decoder(efficient: bool) -> onnx.ModelProto:
    points = "batched_point_coords" if efficient else "point_coords"
    labels = "batched_point_labels" if efficient else "point_labels"
    extra = [1] if efficient else []
    masks = "output_masks" if efficient else "masks"
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + 0.5
    constants = {
        "xs": columns[None],
        "ys": rows[None],
        "radius": np.float32(RADIUS),
        "zero": np.float32(0),
        "pairs": np.array([-1, 2], np.int64),
        "flat": np.array([-1, 1], np.int64),
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
        "one": np.array([1], np.int64),
        "starts": np.zeros(2, np.int64),
        "axes": np.array([2, 3], np.int64),
        # Four masks: the first answers several prompts, the third is the best of the others.
        "gains": np.array([1, -1, 2, -1], np.float32).reshape(1, 4, 1, 1),
        "one_gain": np.ones((1, 1, 1, 1), np.float32),
        "four": np.array([[0.5, 0.1, 0.9, 0.2]], np.float32),
        "single": np.array([[[0.75]]], np.float32),
        "queries": np.array([0], np.int64),
    }
    make = helper.make_node
    nodes = [
        make("Reshape", [points, "pairs"], ["places"]),
        make("Reshape", [labels, "flat"], ["label"]),
        make("Cast", ["label"], ["label32"], to=TensorProto.FLOAT),
        make("Greater", ["label32", "zero"], ["is_wanted"]),
        make("Cast", ["is_wanted"], ["weight"], to=TensorProto.FLOAT),
        make("Mul", ["places", "weight"], ["weighted"]),
        make("ReduceSum", ["weighted", "first"], ["sum"], keepdims=1),
        make("ReduceSum", ["weight", "first"], ["count"], keepdims=1),
        make("Div", ["sum", "count"], ["centre"]),
        make("Gather", ["centre", "first"], ["x"], axis=1),
        make("Gather", ["centre", "second"], ["y"], axis=1),
        make("Sub", ["xs", "x"], ["dx"]),
        make("Sub", ["ys", "y"], ["dy"]),
        make("Mul", ["dx", "dx"], ["dx2"]),
        make("Mul", ["dy", "dy"], ["dy2"]),
        make("Add", ["dx2", "dy2"], ["d2"]),
        make("Sqrt", ["d2"], ["distance"]),
        make("Sub", ["radius", "distance"], ["logit"]),
        make("Mul", ["logit", "image_embeddings"], ["lit"]),
    ]
    sizes: list[int | str] = ["count"]
    inputs: list[tuple[str, int, list[int | str]]] = [
        ("image_embeddings", TensorProto.FLOAT, [1, 1, SIDE, SIDE]),
        (points, TensorProto.FLOAT, [1, *extra, *sizes, 2]),
        (labels, TensorProto.FLOAT, [1, *extra, *sizes]),
    ]
    if efficient:
        inputs.append(("orig_im_size", TensorProto.INT64, [2]))
        nodes += [
            make("Slice", ["lit", "starts", "orig_im_size", "axes"], ["cut"]),
            make("Unsqueeze", ["cut", "queries"], [masks]),
            make("Identity", ["single"], ["iou_predictions"]),
        ]
    else:
        inputs += [
            ("mask_input", TensorProto.FLOAT, [1, 1, 16, 16]),
            ("has_mask_input", TensorProto.FLOAT, [1]),
            ("orig_im_size", TensorProto.FLOAT, [2]),
        ]
        nodes += [
            # An earlier mask moves every logit by its own mean, so that a test can see it arrive.
            make("ReduceMean", ["mask_input"], ["moved"], axes=[0, 1, 2, 3], keepdims=1),
            make("Mul", ["moved", "has_mask_input"], ["moving"]),
            make("Cast", ["orig_im_size"], ["ends"], to=TensorProto.INT64),
            make("Slice", ["lit", "starts", "ends", "axes"], ["cut"]),
            make("Add", ["cut", "moving"], ["shifted"]),
            make("Mul", ["shifted", "gains"], [masks]),
            make("Identity", ["four"], ["iou_predictions"]),
            make("Identity", ["lit"], ["low_res_masks"]),
        ]
    outputs = {masks: 4 + len(extra), "iou_predictions": 2 + len(extra)}
    return _model(nodes, inputs, outputs, constants)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, list[int | str]]],
    outputs: dict[str, int],  # name -> axes
    constants: dict[str, object],
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "sam_like",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, [f"{name}{i}" for i in range(axes)]
            )
            for name, axes in outputs.items()
        ],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
            if name in used
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
