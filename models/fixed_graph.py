"""The twin of a graph in which nothing is open that never changes on a device: constants are
weights, and the sides of a recurrent network's states are numbers.

Called by `models.device_loading` and `mattestream models build`. A constant that stayed an input
would be copied to the device for every run, and back where it decides a size. States have one shape
from the first frame on, so that they lie at addresses that never change: the first frame's zeros
have the shape that the network hands on, which is what it makes of those that the manifest gives.
Twins are kept in the cache, with their digest beside them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import EngineFailed, LibraryMissing
from models.manifest import Manifest
from models.onnx_engine import OnnxEngine
from models.weights import VerifiedWeights, atomic_file, kept_twin, sha256_of, write_pin

Shapes = Mapping[str, tuple[int, ...]]


def fixed_twin(
    manifest: Manifest, weights: VerifiedWeights, cache_dir: Path
) -> tuple[Manifest, VerifiedWeights]:
    """The twin, and the manifest as it is of the twin; both as they came where nothing is open.

    The same file gives the same bytes. Takes as long as three runs on the CPU, which tell the
    shapes.

    Args:
        manifest: what the model is.
        weights: the ONNX file, read through.
        cache_dir: the twin is written to its folder "fixed".

    Raises:
        LibraryMissing: onnx is not installed.
        EngineFailed: the network does not run, its states change their shape from frame to frame,
            or the twin cannot be made or kept.
        ManifestError: the graph is not what the manifest says.
    """
    if not (manifest.is_recurrent or manifest.constants):
        return manifest, weights
    shapes = _handed_on(manifest, weights) if manifest.is_recurrent else {}
    fixed = dataclasses.replace(
        manifest,
        constants={},
        states=tuple(
            dataclasses.replace(state, shape=shapes[state.input]) for state in manifest.states
        ),
        # What is batched in a state no manifest says: see `models.device_batch`.
        max_batch=1 if manifest.is_recurrent else manifest.max_batch,
    )
    path = cache_dir / "fixed" / f"{weights.sha256[:16]}-{_digest(manifest, fixed)}.onnx"
    if (kept := kept_twin(path)) is not None:
        return fixed, kept
    try:
        data = _folded(manifest, fixed, weights.path)
    except LibraryMissing:
        raise
    except Exception as error:  # onnx raises what the line it is at raises
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise EngineFailed(
            f"{weights.path} cannot be fixed for a GPU ({words}): start with --device cpu"
        ) from error
    try:
        with atomic_file(path) as file:
            file.write(data)
        digest = sha256_of(path)
        write_pin(path, digest)
    except OSError as error:
        raise EngineFailed(
            f"the twin of model '{manifest.name}' cannot be kept in {cache_dir}: "
            f"{error.strerror or error}"
        ) from error
    return fixed, VerifiedWeights(path, digest)


def _handed_on(manifest: Manifest, weights: VerifiedWeights) -> Shapes:
    """The shape of each state, by its input's name, that the network hands on for ever."""
    engine = OnnxEngine(weights.path, manifest)
    blank = np.zeros((1, *manifest.input.shape), np.float32)
    try:
        _, states = engine.step(blank, None)
        first = {name: value.shape for name, value in states.items()}
        # Zeros of that shape must do what those of the manifest do: such a network widens them.
        zeros = {name: np.zeros_like(value) for name, value in states.items()}
        for given in (zeros, states):
            _, later = engine.step(blank, given)
            if changed := [name for name, value in later.items() if value.shape != first[name]]:
                name = changed[0]
                raise EngineFailed(
                    f"model '{manifest.name}' ({manifest.path}) hands its state '{name}' on as "
                    f"{list(first[name])} after the first frame and as {list(later[name].shape)} "
                    f"after the next: on a GPU a state keeps its shape, start with --device cpu"
                )
    finally:
        engine.close()
    return first


def _folded(manifest: Manifest, fixed: Manifest, path: Path) -> bytes:
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise LibraryMissing(
            f"model '{manifest.name}' has states or constants, and a GPU needs {error.name} to fix "
            f"them: pip install onnx, or start with --device cpu"
        ) from error
    model = onnx.load(path)
    graph = model.graph
    states = {state.input: state.shape for state in fixed.states}
    states |= {state.output: state.shape for state in fixed.states}
    weights = {each.name for each in graph.initializer}  # old exporters list them as inputs
    first = next(value.name for value in graph.input if value.name not in weights)
    for value in list(graph.input):
        if value.name in manifest.constants:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            array = np.array(manifest.constants[value.name], dtype)
            graph.initializer.append(numpy_helper.from_array(array, value.name))
            graph.input.remove(value)
    if fixed.is_recurrent:
        states[manifest.input.tensor or first] = (1, *manifest.input.shape)
        del graph.value_info[:]  # of sides that were open
    for value in (*graph.input, *graph.output):
        if value.name in states:
            _set_shape(value.type.tensor_type, states[value.name])
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _set_shape(tensor: Any, shape: tuple[int, ...]) -> None:
    tensor.ClearField("shape")
    for side in shape:
        tensor.shape.dim.add().dim_value = side


def _digest(manifest: Manifest, fixed: Manifest) -> str:
    """Of all that is written into the twin."""
    states = [(state.input, state.output, state.shape) for state in fixed.states]
    said = json.dumps(
        [sorted(manifest.constants.items()), manifest.input.tensor, manifest.input.shape, states]
    )
    return hashlib.sha256(said.encode()).hexdigest()[:16]
