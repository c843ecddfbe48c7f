"""Which plan a model runs from: the one in the cache, or one built now.

Called by `models.tensorrt_engine` before it deserialises, and by `mattestream models build`, which
on a machine without a GPU stops here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import EngineFailed
from models.half import half_twin
from models.manifest import Manifest
from models.plan_cache import PlanCache, PlanKey, StoredPlan
from models.tensorrt_builder import (
    FLAGS,
    BuildSettings,
    build_plan,
    usable_buckets,
)
from models.tensorrt_library import TensorRT
from models.tensorrt_progress import Progress
from models.weights import VerifiedWeights

DEFAULT_BUCKETS = (1, 2, 4, 8)
ANY = "any"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A model and what its plans are for; the precision is chosen later.

    Attributes:
        manifest: what the model is.
        weights: its ONNX file, read through.
        library: what builds.
        gpu_name: "NVIDIA H200".
        capability: "9.0".
        cache_dir: plans go to its folder "plans", half-precision twins to "half".
        buckets: batch sizes; those that the model does not take fall away.
        optimization_level: 0..5.
        workspace_mib: most scratch memory; 0: all there is.
        cache_max_mib: all plans together.
        on_progress: told what goes on and how far it is, 0..1; from threads of the library.
        cancelled: asked at each step of a build; True ends it.
    """

    manifest: Manifest
    weights: VerifiedWeights
    library: TensorRT
    gpu_name: str
    capability: str
    cache_dir: Path
    buckets: Sequence[int] = DEFAULT_BUCKETS
    optimization_level: int = 3
    workspace_mib: int = 0
    cache_max_mib: int = 8192
    on_progress: Progress | None = None
    cancelled: Callable[[], bool] = field(default=lambda: False)

    @property
    def gpu(self) -> str:
        """The kind of GPU: "NVIDIA H200 9.0"."""
        return f"{self.gpu_name} {self.capability}"

    @property
    def measured_as(self) -> str:
        """What figures are of: the kind of GPU, and a digest of all that the manifest says of how
        pictures go in and alphas come out.
        """
        said = json.dumps(
            [dataclasses.asdict(self.manifest.input), dataclasses.asdict(self.manifest.output)],
            sort_keys=True,
        )
        return f"{self.gpu} {hashlib.sha256(said.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, where it is kept, and what it was built for."""

    stored: StoredPlan
    key: PlanKey
    cache: PlanCache
    build_s: float  # 0 when it was in the cache

    @property
    def was_built(self) -> bool:
        """False when it was in the cache."""
        return self.build_s > 0


def find_or_build(request: PlanRequest, precision: str, *, force: bool = False) -> Plan:
    """The plan of a model in one precision.

    Args:
        request: for what.
        precision: "fp32" or "fp16".
        force: build it although it is in the cache.

    Raises:
        PlanNotBuilt, ManifestError: the network cannot become such a plan.
        BuildCancelled: `request.cancelled()`.
        LibraryMissing: fp16 needs a converter that is not installed.
        EngineFailed: the cache cannot be written.
    """
    try:
        return _find_or_build(request, precision, force)
    except OSError as error:
        raise EngineFailed(
            f"the plan of model '{request.manifest.name}' cannot be kept in {request.cache_dir}: "
            f"{error.strerror or error}"
        ) from error


def _find_or_build(request: PlanRequest, precision: str, force: bool) -> Plan:
    weights = request.weights
    if precision == "fp16":
        weights = half_twin(weights, request.cache_dir)
    cache = PlanCache(request.cache_dir / "plans", max_bytes=request.cache_max_mib << 20)
    key = _key(request, weights, precision)
    if not force and (stored := cache.read(key)) is not None:
        return Plan(stored, key, cache, 0.0)
    with cache.lock(key, request.cancelled):
        # Whoever held the lock has built it meanwhile.
        if not force and (stored := cache.read(key)) is not None:
            return Plan(stored, key, cache, 0.0)
        started = time.monotonic()
        data = build_plan(
            request.library,
            weights.path,
            request.manifest,
            BuildSettings(
                precision,
                key.buckets,
                key.optimization_level,
                key.workspace_bytes,
                cache.folder / f"timing-{_file_name(request)}.cache",
            ),
            on_progress=_named(request.on_progress, precision),
            cancelled=request.cancelled,
        )
        stored = cache.write(key, data)
        seconds = time.monotonic() - started
    log.info(
        "built a plan: model=%s precision=%s library=%s batches=%s seconds=%.1f mib=%.1f path=%s",
        request.manifest.name,
        precision,
        request.library.title,
        key.buckets,
        seconds,
        len(data) / 2**20,
        stored.path,
    )
    return Plan(stored, key, cache, seconds)


def _key(request: PlanRequest, weights: VerifiedWeights, precision: str) -> PlanKey:
    # TensorRT-RTX finishes its kernels on the GPU that runs them; its plans are for all of them.
    portable = request.library.is_rtx
    return PlanKey(
        model=request.manifest.name,
        weights_sha256=weights.sha256,
        precision=precision,
        library=request.library.title,
        gpu=ANY if portable else request.gpu_name,
        capability=ANY if portable else request.capability,
        buckets=usable_buckets(request.manifest, request.buckets),
        input_shape=request.manifest.input.shape,
        tensors=(request.manifest.input.tensor, request.manifest.output.tensor),
        flags=FLAGS,
        optimization_level=request.optimization_level,
        workspace_bytes=request.workspace_mib << 20,
        states=tuple((state.input, state.output) for state in request.manifest.states),
    )


def _file_name(request: PlanRequest) -> str:
    """Kernel times are of one GPU and one version; a mixed file would be refused as a whole."""
    name = f"{request.library.title}-{request.gpu}"
    return "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in name)


def _named(on_progress: Progress | None, precision: str) -> Progress | None:
    if on_progress is None:
        return None
    return lambda phase, fraction: on_progress(f"{precision} plan: {phase}", fraction)
