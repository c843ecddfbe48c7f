"""Builds a TensorRT plan from an ONNX file: one optimisation profile for each batch size.

Called by `models.tensorrt_plans`. The same calls serve TensorRT 10.3 to 11.4 and TensorRT-RTX. In
CI TensorRT-RTX builds real plans with them and the bindings of TensorRT 11.4 check their types;
full TensorRT itself, which needs a GPU to build, has not been run.

Each batch size has a profile whose smallest, best and largest batch are that one size: its kernels
are chosen for exactly the batch that will run, its scratch memory is exact, and the execution
context that a CUDA graph was recorded with never changes its profile. One profile for 1 to 8 would
be timed at one size and only work at the others. The price is build time, once for each size, and
with TensorRT-RTX the weights once for each size in the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import tensorrt_library
from models.errors import BuildCancelled, PlanNotBuilt
from models.graph_check import Dimension, Tensor, check_graph
from models.manifest import Manifest
from models.tensorrt_library import TensorRT
from models.tensorrt_progress import Progress, progress_monitor
from models.tensorrt_timing import timing_cache

TYPES = {"FLOAT": "tensor(float)", "HALF": "tensor(float16)"}  # as `models.graph_check` has them
PRECISIONS = {"FLOAT": "fp32", "HALF": "fp16"}
# TensorFloat-32 keeps 10 bits of a number: an fp32 plan is the exact one, fp16 is the fast one.
FLAGS = ("strongly_typed", "no_tf32", "unused_outputs_removed")


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What a plan is built for.

    Attributes:
        precision: "fp32" or "fp16": which the ONNX file must have, as nothing is converted here.
        buckets: batch sizes, ascending.
        optimization_level: 0 (fast build) to 5 (fast plan); 3 is the library's own choice.
        workspace_bytes: most scratch memory; 0: all that the device has.
        timing_cache: file of measured kernel times, which makes the next build shorter; None: none.
    """

    precision: str
    buckets: tuple[int, ...]
    optimization_level: int = 3
    workspace_bytes: int = 0
    timing_cache: Path | None = None


def build_plan(
    library: TensorRT,
    onnx: Path,
    manifest: Manifest,
    settings: BuildSettings,
    *,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> bytes:
    """The plan. Takes seconds to many minutes; the calling thread's CUDA device is the target.

    Args:
        library: what builds.
        onnx: the file, in the precision that is wanted.
        manifest: what the file should be.
        settings: see there.
        on_progress: told what goes on; called from threads of the library.
        cancelled: asked at each step; True ends the build.

    Raises:
        PlanNotBuilt: the parser or the builder refuses the network.
        ManifestError: the network is not what the manifest says.
        BuildCancelled: `cancelled()`.
    """
    trt = library.module
    library.words.take()  # of whatever came before
    builder = trt.Builder(library.logger)
    # TensorRT 11 is always strongly typed and ignores the flag, 10 needs it; its number differs.
    flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flag)
    parser = trt.OnnxParser(network, library.logger)
    if not parser.parse(_read(onnx), str(onnx)):
        raise PlanNotBuilt(_parser_sentence(library, parser, onnx))
    source = _checked(library, network, manifest, settings, onnx)
    config = builder.create_builder_config()
    _configure(trt, config, settings)
    for batch in settings.buckets:
        _add_profile(library, builder, config, source, (batch, *manifest.input.shape))
    monitor = progress_monitor(trt, on_progress, cancelled)
    config.progress_monitor = monitor
    with timing_cache(library, config, settings.timing_cache):
        plan = builder.build_serialized_network(network, config)
    if monitor.failure is not None:
        raise monitor.failure
    if monitor.was_cancelled:
        raise BuildCancelled(f"the build of a plan for '{manifest.name}' was cancelled")
    if plan is None:
        raise PlanNotBuilt(
            f"{library.title} cannot build a plan from {onnx}: {library.words.take()}"
        )
    return tensorrt_library.host_bytes(plan)


def _read(onnx: Path) -> bytes:
    try:
        return onnx.read_bytes()
    except OSError as error:
        raise PlanNotBuilt(f"{onnx} cannot be read: {error.strerror}") from error


def _parser_sentence(library: TensorRT, parser: Any, onnx: Path) -> str:
    """What the parser found, node by node, at most three."""
    found = []
    for index in range(min(parser.num_errors, 3)):
        error = parser.get_error(index)
        where = error.node_name() or error.node_operator()
        at = f"node '{where}' ({error.node_operator()}): " if where else ""
        found.append(at + " ".join(error.desc().split())[:300])
    words = "; ".join(found) or library.words.take()
    return (
        f"{library.title} cannot read {onnx}: {words}. It takes ONNX in fp32 or fp16; a quantised "
        f"file needs symmetric Q/DQ nodes. The same model may run with engine onnx"
    )


def _checked(
    library: TensorRT, network: Any, manifest: Manifest, settings: BuildSettings, onnx: Path
) -> str:
    """Name of the input, once network and manifest agree; other outputs are taken out."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    source, target = check_graph(
        manifest, [_declared(each) for each in inputs], [_declared(each) for each in outputs]
    )
    if (seen := PRECISIONS.get(_type_name(source.type))) != settings.precision:
        raise PlanNotBuilt(
            f"{onnx}: its input '{source.name}' is {seen or source.type}, and a plan in "
            f"{settings.precision} was asked for: ask for precision {seen or 'fp32'}"
        )
    if _type_name(target.type) not in PRECISIONS:
        raise PlanNotBuilt(
            f"{onnx}: its output '{target.name}' is {target.type}; allowed are "
            f"{' and '.join(TYPES.values())}"
        )
    # U2-Net answers seven times; what nobody reads must be neither computed nor bound.
    read = {target.name, *(state.output for state in manifest.states)}
    for tensor in outputs:
        if tensor.name not in read:
            network.unmark_output(tensor)
    return source.name


def _declared(tensor: Any) -> Tensor:
    # A size the graph leaves open is -1.
    shape: tuple[Dimension, ...] = tuple(None if size < 0 else size for size in tensor.shape)
    name = tensor.dtype.name
    return Tensor(tensor.name, shape, TYPES.get(name, name))


def _type_name(described: str) -> str:
    return next((name for name, words in TYPES.items() if words == described), described)


def _configure(trt: Any, config: Any, settings: BuildSettings) -> None:
    if settings.workspace_bytes:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_bytes)
    config.builder_optimization_level = settings.optimization_level
    config.clear_flag(trt.BuilderFlag.TF32)


def _add_profile(
    library: TensorRT, builder: Any, config: Any, source: str, shape: tuple[int, ...]
) -> None:
    """A profile for inputs of exactly `shape`, (N, ...)."""
    profile = builder.create_optimization_profile()
    profile.set_shape(source, shape, shape, shape)
    if not profile or config.add_optimization_profile(profile) < 0:
        raise PlanNotBuilt(
            f"{library.title} refuses inputs of {shape} for '{source}': {library.words.take()}"
        )


def usable_buckets(manifest: Manifest, buckets: Sequence[int]) -> tuple[int, ...]:
    """Those batch sizes that the model takes, ascending.

    A graph with a fixed batch is used as it is, for that batch: `models.graph_check` lets it
    through only with a max_batch of 1. Rewriting it would miss the batch that exporters also write
    into constants of Reshape and Resize.

    Raises:
        PlanNotBuilt: none is left.
    """
    usable = tuple(sorted({each for each in buckets if 1 <= each <= manifest.max_batch}))
    if not usable:
        raise PlanNotBuilt(
            f"batch sizes {', '.join(map(str, buckets))} were asked for, but model "
            f"'{manifest.name}' takes 1 to {manifest.max_batch}"
        )
    return usable
