"""The float16 twin of an exported model, typed throughout, for engines that ask for it (TensorRT).

Run by a person: `python -m models.training.half --model models/builtin/matte-s.onnx --out FILE`.
Input and output stay float32, so that a manifest describes both files. The norms were folded in
float32 before, which is why this starts from the ONNX file and not from torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

LARGEST = 65504.0  # of float16
TOLERANCE = 0.02  # 5 of 255 in the worst pixel: 16-bit sums, and edges are steep


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in float16 between two casts.

    Raises ValueError when a weight does not fit float16.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    graph = twin.graph
    kept = float32_inputs(graph)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            tensor.CopyFrom(half_tensor(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            is_float = attribute.t.data_type == TensorProto.FLOAT
            if is_float and not set(node.output) & kept:
                attribute.t.CopyFrom(half_tensor(attribute.t))
    source, result = graph.input[0].name, graph.output[0].name
    inside_in, inside_out = f"{source}_half", f"{result}_half"
    for node in graph.node:
        node.input[:] = [inside_in if name == source else name for name in node.input]
        node.output[:] = [inside_out if name == result else name for name in node.output]
    graph.node.insert(0, helper.make_node("Cast", [source], [inside_in], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", [inside_out], [result], to=TensorProto.FLOAT))
    del graph.value_info[:]  # shapes with the old types
    onnx.checker.check_model(twin, full_check=True)
    return twin


def float32_inputs(graph: onnx.GraphProto) -> set[str]:
    """Names that must stay float32 whatever the network computes in: Resize's scales."""
    return {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:]}


def half_tensor(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """The tensor in float16, under its own name."""
    values = numpy_helper.to_array(tensor)
    if values.size and float(np.abs(values).max()) > LARGEST:
        raise ValueError(f"weight '{tensor.name}' reaches {np.abs(values).max():g}: too much")
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)


def disagreement(first: Path, second: Path) -> float:
    """Largest difference in alpha between two files of the same input, over random pictures.

    Coarse blots and not noise, on which a network answers nothing but background.
    """
    sessions = [
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (first, second)
    ]
    wanted = sessions[0].get_inputs()[0]
    _, _, height, width = wanted.shape
    blots = np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32)
    images = np.stack(
        [
            [cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in blot]
            for blot in blots
        ]
    )
    a, b = (session.run(None, {wanted.name: images})[0] for session in sessions)
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).max())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write the float16 twin of an ONNX model.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    onnx.save(halved(onnx.load(str(args.model))), str(args.out))
    worst = disagreement(args.model, args.out)
    if worst > TOLERANCE:
        args.out.unlink()
        raise ValueError(
            f"float16 and float32 differ by {worst:.2g} in alpha: {TOLERANCE} is allowed"
        )
    size_mb = args.out.stat().st_size / 1e6
    print(f"{args.out}: {size_mb:.2f} MB, differs from float32 by {worst:.1e} in alpha")


if __name__ == "__main__":
    main()
