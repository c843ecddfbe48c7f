"""The half-precision twin of an ONNX file: the same network, weights and tensors in 16 bits.

Called by `models.tensorrt_plans`. TensorRT 11 computes in the types the file has and no others, so
an FP16 engine takes an FP16 file. Twins are kept in the cache, with their digest beside them.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import threading
import warnings
from pathlib import Path
from typing import Any

from models.errors import LibraryMissing, PlanNotBuilt
from models.weights import VerifiedWeights, atomic_file, kept_twin, sha256_of, write_pin

CONVERTER = "onnxconverter-common"

log = logging.getLogger(__name__)
_converting = threading.Lock()  # warnings are caught for the whole process


def half_twin(weights: VerifiedWeights, cache_dir: Path) -> VerifiedWeights:
    """The twin with inputs, outputs and weights in fp16; `weights` where they are in fp16 already.

    The same file gives the same bytes. Operators that need full precision keep it inside, between
    casts: the converter's own list of them, as TensorRT refuses, for one, half-precision scales of
    a Resize. Values that half precision cannot hold are cut to 1e-7 and 1e4; what that costs, the
    accuracy check of the built plan finds.

    Args:
        weights: the ONNX file, read through.
        cache_dir: the twin is written to its folder "half".

    Raises:
        LibraryMissing: onnx or onnxconverter-common is not installed.
        PlanNotBuilt: the file cannot be converted.
    """
    try:
        version = importlib.metadata.version(CONVERTER)
        import onnx

        float16 = importlib.import_module("onnxconverter_common.float16")
    except ImportError as error:
        raise LibraryMissing(
            f"precision fp16 needs {error.name}: pip install onnx {CONVERTER}, or ask for fp32"
        ) from error
    path = cache_dir / "half" / f"{weights.sha256[:16]}-{version}.onnx"
    if (kept := kept_twin(path)) is not None:
        return kept
    try:
        model = onnx.load(weights.path)
        if _is_half(model, onnx.TensorProto.FLOAT16):
            return weights
        for index, node in enumerate(model.graph.node):
            node.name = node.name or f"node-{index}"  # its casts are named after it
        with _converting, warnings.catch_warnings(record=True) as cut:
            warnings.simplefilter("always")  # a sentence per value that is cut
            # keep_io_types=False: a batch is then half the bytes on its way in and out, and the
            # kernels write and read both types.
            half = float16.convert_float_to_float16(model, keep_io_types=False)
        onnx.checker.check_model(half)
        data = half.SerializeToString(deterministic=True)
    except Exception as error:  # the converter raises whatever the line it is at raises
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise PlanNotBuilt(
            f"{weights.path} cannot be converted to fp16 ({words}): ask for precision fp32"
        ) from error
    if cut:
        log.info("%s: %d values were cut to what fp16 holds", weights.path, len(cut))
    with atomic_file(path) as file:
        file.write(data)
    digest = sha256_of(path)
    write_pin(path, digest)
    return VerifiedWeights(path, digest)


def _is_half(model: Any, half: int) -> bool:
    """True when the graph's first real input is in half precision."""
    constants = {each.name for each in model.graph.initializer}  # old exporters list them as inputs
    for value in model.graph.input:
        if value.name not in constants:
            return bool(value.type.tensor_type.elem_type == half)
    return False
