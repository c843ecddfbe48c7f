"""Compares what a network's graph declares with what its manifest says, before anything runs.

Called by `models.onnx_engine`; free of any library, so that another engine can ask it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.errors import ManifestError
from models.manifest import Manifest

Dimension = int | str | None  # a name or None: any size


@dataclass(frozen=True, slots=True)
class Tensor:
    """One declared input or output of a graph."""

    name: str
    shape: tuple[Dimension, ...]  # () when the graph declares none
    type: str  # "tensor(float)", as ONNX Runtime writes it


def check_graph(
    manifest: Manifest, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """The input to feed and the output to read.

    Raises:
        ManifestError: a sentence for each way in which manifest and graph differ.
    """
    problems: list[str] = []
    source = _pick(inputs, manifest.input.tensor, "input", problems)
    target = _pick(outputs, manifest.output.tensor, "output", problems)
    if source is not None:
        known = {source.name, *manifest.constants, *(state.input for state in manifest.states)}
        others = [f"'{tensor.name}'" for tensor in inputs if tensor.name not in known]
        if others:
            problems.append(
                f"'input.tensor' is '{source.name}', but the graph also needs {', '.join(others)}: "
                f"name each in [[states]] when an output is fed back into it, or in [constants]"
            )
        _check_fed(manifest, inputs, outputs, problems)
        _check_input(manifest, source, problems)
    if target is not None:
        _check_output(manifest, target, problems)
    if problems or source is None or target is None:
        raise ManifestError(manifest.path, problems)
    return source, target


def _pick(
    tensors: Sequence[Tensor], name: str | None, kind: str, problems: list[str]
) -> Tensor | None:
    """The tensor called `name`, or the first where the manifest names none."""
    for tensor in tensors:
        if name in (None, tensor.name):
            return tensor
    listed = ", ".join(f"'{tensor.name}'" for tensor in tensors) or "none"
    problems.append(f"'{kind}.tensor' is '{name}', but the graph's {kind}s are {listed}")
    return None


def _check_fed(
    manifest: Manifest,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    problems: list[str],
) -> None:
    """States and constants must be there, and shapes must fit where the graph fixes them."""
    takes = {tensor.name: tensor for tensor in inputs}
    gives = {tensor.name: tensor for tensor in outputs}
    problems.extend(
        f"'states' or 'constants' name the input '{name}', but the graph's inputs are "
        f"{', '.join(map(repr, takes))}"
        for name in (*(state.input for state in manifest.states), *manifest.constants)
        if name not in takes
    )
    problems.extend(
        f"'states' name the output '{state.output}', but the graph's outputs are "
        f"{', '.join(map(repr, gives))}"
        for state in manifest.states
        if state.output not in gives
    )
    for state in manifest.states:
        declared = takes[state.input].shape if state.input in takes else ()
        fits = len(declared) == len(state.shape) and all(
            not isinstance(seen, int) or seen == wanted
            for seen, wanted in zip(declared, state.shape, strict=True)
        )
        if declared and not fits:
            problems.append(
                f"'states' give '{state.input}' the shape {list(state.shape)}, but the graph "
                f"declares {_shape(takes[state.input])}"
            )


def _check_input(manifest: Manifest, tensor: Tensor, problems: list[str]) -> None:
    wanted = manifest.input
    if not tensor.shape:
        return  # the graph promises nothing: the first run will tell
    if len(tensor.shape) != 4:
        problems.append(
            f"'input.layout' is '{wanted.layout}', but the graph's input '{tensor.name}' has "
            f"{len(tensor.shape)} axes {_shape(tensor)}: allowed are 4, a batch of colour images"
        )
        return
    sizes = dict(zip(wanted.layout, tensor.shape, strict=True))
    for axis, key, expected in (
        ("W", "width", wanted.width),
        ("H", "height", wanted.height),
    ):
        seen = sizes[axis]
        if isinstance(seen, int) and seen != expected:
            problems.append(
                f"'input.{key}' is {expected}, but the graph's input '{tensor.name}' "
                f"{_shape(tensor)}, read as {wanted.layout}, has {seen}"
            )
    channels = sizes["C"]
    if isinstance(channels, int) and channels != 3:
        problems.append(
            f"'input.layout' is '{wanted.layout}', but then the graph's input '{tensor.name}' "
            f"{_shape(tensor)} has {channels} channels: allowed are 3"
        )
    batch = sizes["N"]
    if isinstance(batch, int) and not batch == manifest.max_batch == 1:
        problems.append(
            f"'max_batch' is {manifest.max_batch}, but the graph's input '{tensor.name}' "
            f"{_shape(tensor)} always takes {batch}: allowed are 1 with 1, or a graph of any batch"
        )


def _check_output(manifest: Manifest, tensor: Tensor, problems: list[str]) -> None:
    wanted = manifest.output
    if not tensor.shape:
        return
    if len(tensor.shape) != len(wanted.layout):
        problems.append(
            f"'output.layout' is '{wanted.layout}', but the graph's output '{tensor.name}' has "
            f"{len(tensor.shape)} axes {_shape(tensor)}: allowed are {len(wanted.layout)}"
        )
        return
    channels = dict(zip(wanted.layout, tensor.shape, strict=True)).get("C")
    if isinstance(channels, int):
        problems.extend(filter(None, [channel_problem(manifest, channels)]))


def channel_problem(manifest: Manifest, channels: int) -> str:
    """What is wrong with reading the manifest's channel out of `channels`, "" when nothing is."""
    wanted = manifest.output.channel
    if wanted is None and channels != 1:
        return (
            f"'output.channel' is missing, and the graph's output, read as "
            f"{manifest.output.layout}, has {channels}: say which is the subject, from 0"
        )
    if wanted is not None and wanted >= channels:
        return (
            f"'output.channel' is {wanted}, but the graph's output, read as "
            f"{manifest.output.layout}, has {channels}: allowed are 0 to {channels - 1}"
        )
    return ""


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in tensor.shape) + ")"
