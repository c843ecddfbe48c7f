"""Runs a plan with TensorRT: between addresses and on a stream that are given to it.

`load_or_build` is called by `models.device_loading` and `mattestream models build`; the engine is
driven by `models.device_model`. The calls are checked in CI against the real bindings of TensorRT
11.4; a plan needs a GPU to run, and this file has not run on one yet.
"""

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from kernels.device import Device
from models import accuracy, tensorrt_library
from models.accuracy import Accuracy
from models.device_engine import (
    Element,
    StateAddresses,
    StateElement,
    StateSpec,
    TensorSpec,
)
from models.errors import (
    AccuracyRefused,
    DeviceNotAvailable,
    EngineFailed,
    LibraryMissing,
    PlanNotBuilt,
)
from models.manifest import Manifest
from models.tensorrt_binding import Bound, TensorRTBinding
from models.tensorrt_builder import PRECISIONS
from models.tensorrt_library import Choice, TensorRT
from models.tensorrt_plans import DEFAULT_BUCKETS, Plan, PlanRequest, find_or_build
from models.tensorrt_progress import Progress
from models.weights import VerifiedWeights

NO_MEMORY = re.compile(r"out of memory|out_?of_?memory|bad_alloc|cudaErrorMemoryAlloc", re.I)
Precision = Literal["auto", "fp16", "fp32"]
STATES: Mapping[str, StateElement] = {
    "FLOAT": "fp32",
    "HALF": "fp16",
    "INT32": "int32",
    "INT64": "int64",
}

log = logging.getLogger(__name__)


class TensorRTEngine:
    """A plan on one GPU; see `models.device_engine.DeviceEngine` for the contract.

    Attributes:
        name: library and version: "tensorrt 11.4.0.106".
        device: where it runs: "cuda:0 NVIDIA H200".
        precision: "fp16" or "fp32": what the plan really computes in.
        buckets: batch sizes, one optimisation profile each, in their order.
        input: what a batch is written into; an fp16 plan takes and gives fp16.
        output: what comes out.
        states: what a recurrent network is handed from frame to frame.
        path: the plan's file.
        build_s: how long the plan took to build; 0 when it was in the cache.
        accuracy: how far it is from ONNX Runtime in fp32; None until `load_or_build` has measured.
    """

    can_be_captured = True  # nothing is allocated in a run, and weight streaming is off

    def __init__(self, library: TensorRT, plan: Plan, device: Device) -> None:
        """Deserialises the plan on the calling thread's device.

        Args:
            library: what built it, the very version.
            plan: its bytes have been proven whole.
            device: where it will run; `use` has been called.

        Raises:
            DeviceNotAvailable: there is no GPU.
            EngineFailed: the library refuses the plan.
        """
        # Before the library is touched: TensorRT's lean runtime crashes where there is none.
        if tensorrt_library.count_cuda_devices() == 0:
            raise DeviceNotAvailable(
                f"a plan of {library.title} runs on NVIDIA GPUs, and there is none here: use "
                f"--device cpu"
            )
        self._library = library
        self._device = device
        self.path: Path = plan.stored.path
        self.build_s = plan.build_s
        self.name = library.title
        self.device = device.name
        self.buckets = plan.key.buckets
        self.accuracy: Accuracy | None = None
        self._bindings: weakref.WeakSet[TensorRTBinding] = weakref.WeakSet()
        library.words.take()
        self._runtime = library.module.Runtime(library.logger)
        self._engine = self._runtime and self._runtime.deserialize_cuda_engine(plan.stored.data)
        if self._engine is None:
            raise EngineFailed(
                f"{library.title} refuses the plan {self.path} on {device.name}: "
                f"{library.words.take()}"
            )
        self.input, self.output, self.states = self._tensors(plan)
        self.precision = str(self.input.element)

    def bind(
        self, batch: int, source: int, target: int, states: StateAddresses = ()
    ) -> TensorRTBinding:
        """The network for `batch` images between two addresses; see `DeviceEngine.bind`.

        Raises:
            EngineFailed: the library refuses.
        """
        if batch not in self.buckets:
            raise EngineFailed(f"a plan for batches of {self.buckets} cannot be bound to {batch}")
        tensors: dict[str, Bound] = {
            self.input.name: (source, (batch, *self.input.shape)),
            self.output.name: (target, ()),
        }
        for state, (read, written) in zip(self.states, states, strict=True):
            tensors[state.input] = (read, state.shape)
            tensors[state.output] = (written, ())
        binding = TensorRTBinding(
            self._library, self._engine, self._device, self.buckets.index(batch), tensors
        )
        self._bindings.add(binding)
        return binding

    def close(self) -> None:
        """Frees contexts, engine and runtime, in this order; may be called twice."""
        for binding in list(self._bindings):
            binding.close()
        self._engine = None
        self._runtime = None

    def _tensors(self, plan: Plan) -> tuple[TensorSpec, TensorSpec, tuple[StateSpec, ...]]:
        """The plan's one input, its one output and its states; the builder has removed all other
        outputs.
        """
        fed_back = {name for pair in plan.key.states for name in pair}
        mode = self._library.module.TensorIOMode
        names: dict[Any, list[str]] = {mode.INPUT: [], mode.OUTPUT: []}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            if name not in fed_back:
                names[self._engine.get_tensor_mode(name)].append(name)
        (source,), (target,) = names[mode.INPUT], names[mode.OUTPUT]
        for wanted, seen in zip(plan.key.tensors, (source, target), strict=True):
            if wanted not in (None, seen):
                raise EngineFailed(
                    f"{self.path} is a plan of the tensor '{seen}', but the manifest says "
                    f"'{wanted}': delete the file"
                )
        states = tuple(self._state(*pair) for pair in plan.key.states)
        return (
            TensorSpec(source, plan.key.input_shape, self._element(source)),
            TensorSpec(target, self._output_shape(source, target, plan), self._element(target)),
            states,
        )

    def _state(self, read: str, written: str) -> StateSpec:
        """A state, which `models.fixed_graph` has given one shape on both sides."""
        kinds = [self._engine.get_tensor_dtype(name).name for name in (read, written)]
        shapes = [tuple(self._engine.get_tensor_shape(name)) for name in (read, written)]
        if kinds[0] != kinds[1] or kinds[0] not in STATES or shapes[0] != shapes[1]:
            raise EngineFailed(
                f"{self.path}: its state '{read}' is {kinds[0]} {shapes[0]} and is handed on as "
                f"'{written}', {kinds[1]} {shapes[1]}: both must be the same, and one of "
                f"{', '.join(STATES)}"
            )
        return StateSpec(read, written, shapes[0], STATES[kinds[0]])

    def _element(self, name: str) -> Element:
        seen = self._engine.get_tensor_dtype(name).name
        if PRECISIONS.get(seen) == "fp16":
            return "fp16"
        if PRECISIONS.get(seen) == "fp32":
            return "fp32"
        raise EngineFailed(
            f"{self.path}: its tensor '{name}' is {seen}; allowed are FLOAT and HALF"
        )

    def _output_shape(self, source: str, target: str, plan: Plan) -> tuple[int, ...]:
        """Of one image. A graph may leave sides open that follow from the input's: a context that
        knows the input tells them.
        """
        shape = tuple(self._engine.get_tensor_shape(target))
        if all(size >= 0 for size in shape[1:]):
            return shape[1:]
        context = self._engine.create_execution_context(
            self._library.module.ExecutionContextAllocationStrategy.USER_MANAGED  # takes no memory
        )
        context.set_input_shape(source, (self.buckets[0], *plan.key.input_shape))
        shape = tuple(context.get_tensor_shape(target))
        if any(size < 0 for size in shape):
            raise EngineFailed(f"{self.path}: the shape of its output '{target}' depends on pixels")
        return shape[1:]


def load_or_build(
    manifest: Manifest,
    weights: VerifiedWeights,
    *,
    device: Device,
    device_index: int,
    gpu_name: str,
    capability: str,
    cache_dir: Path,
    precision: Precision = "auto",
    buckets: Sequence[int] = DEFAULT_BUCKETS,
    library: Choice = "auto",
    optimization_level: int = 3,
    workspace_mib: int = 0,
    cache_max_mib: int = 8192,
    force: bool = False,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> TensorRTEngine:
    """The model's engine, from a plan in the cache or built now, and measured: it may serve.

    "auto" is fp16 where it can be made and the accuracy check passes, else fp32, and the log says
    which and why; asked for by name, a precision that does not pass is an error.

    Args:
        manifest: what the model is.
        weights: its ONNX file, read through.
        device: the GPU; runs the accuracy check.
        device_index: the GPU's number, for messages.
        gpu_name: "NVIDIA H200"; with `capability`, part of what a plan is found by.
        capability: "9.0".
        cache_dir: plans go to its folder "plans", half-precision twins to "half".
        precision: what to compute in.
        buckets: batch sizes; those above the manifest's max_batch fall away.
        library: which TensorRT.
        optimization_level: 0 (fast build) to 5 (fast plan).
        workspace_mib: most scratch memory of a kernel; 0: all there is.
        cache_max_mib: all plans together; the longest unused are deleted.
        force: build although a plan is in the cache.
        on_progress: told what goes on and how far it is, 0..1; from threads of the library.
        cancelled: asked at each step of a build; True ends it.

    Raises:
        AccuracyRefused: the plan's alphas are too far from ONNX Runtime's.
        PlanNotBuilt, ManifestError: the network cannot become a plan.
        BuildCancelled: `cancelled()`.
        EngineFailed: the library refuses its own plan, or the cache cannot be written.
        LibraryMissing, DeviceNotAvailable: TensorRT or the GPU is not there.
        DeviceError: the device has no room for the check.
    """
    device.use()
    opened = tensorrt_library.open_tensorrt(library)
    request = PlanRequest(
        manifest,
        weights,
        opened,
        gpu_name,
        capability,
        cache_dir,
        buckets,
        optimization_level,
        workspace_mib,
        cache_max_mib,
        on_progress,
        cancelled or (lambda: False),
    )
    if precision != "auto":
        return _measured(request, precision, device, force)
    try:
        return _measured(request, "fp16", device, force)
    except (AccuracyRefused, LibraryMissing, PlanNotBuilt) as refusal:
        log.warning("%s; cuda:%d runs it in fp32 instead", refusal, device_index)
        reason = refusal
    try:
        return _measured(request, "fp32", device, force)
    except PlanNotBuilt as error:  # a file that is fp16 itself has no fp32 to fall back to
        raise PlanNotBuilt(f"{error}; before that, fp16 was refused: {reason}") from reason


def _measured(request: PlanRequest, precision: str, device: Device, force: bool) -> TensorRTEngine:
    """An engine whose alphas were compared with ONNX Runtime's, now or when its plan was new."""
    plan = find_or_build(request, precision, force=force)
    kept = plan.cache.accuracy(plan.key, plan.stored, request.measured_as)
    if kept is not None and kept.inputs == accuracy.INPUTS:
        # A plan that was refused stays refused: no minutes on the GPU to learn it again.
        accuracy.require(request.manifest, request.library.title, precision, kept)
    engine, plan = _deserialised(request, precision, plan, device)
    try:
        engine.accuracy = plan.cache.accuracy(plan.key, plan.stored, request.measured_as)
        if engine.accuracy is None or engine.accuracy.inputs != accuracy.INPUTS:
            engine.accuracy = _measure(request, engine, plan, device)
        accuracy.require(request.manifest, engine.name, precision, engine.accuracy)
    except BaseException:
        engine.close()
        raise
    return engine


def _deserialised(
    request: PlanRequest, precision: str, plan: Plan, device: Device
) -> tuple[TensorRTEngine, Plan]:
    """The engine; a plan from the cache that the library no longer takes is built once more."""
    try:
        return TensorRTEngine(request.library, plan, device), plan
    except EngineFailed as error:
        if plan.was_built:
            raise
        if NO_MEMORY.search(str(error)):  # a new plan would need as much, and this one is good
            raise EngineFailed(
                f"{error}: the GPU has no room for this plan, which stays in the cache: free "
                f"memory on the GPU, or load fewer models"
            ) from error
        log.warning("%s: it is built again", error)
    plan = find_or_build(request, precision, force=True)
    return TensorRTEngine(request.library, plan, device), plan


def _measure(request: PlanRequest, engine: TensorRTEngine, plan: Plan, device: Device) -> Accuracy:
    if request.on_progress is not None:
        request.on_progress(f"{engine.precision} plan: comparing with ONNX Runtime", 1.0)
    figure = accuracy.measure(
        request.manifest, request.weights, accuracy.on_device(engine, device), engine.buckets
    )
    log.info(
        "measured a plan: model=%s precision=%s mean_abs=%.2g max_abs=%.2g images=%d gpu=%s",
        request.manifest.name,
        engine.precision,
        figure.mean_abs,
        figure.max_abs,
        figure.images,
        request.gpu,
    )
    try:
        plan.cache.keep_accuracy(plan.key, plan.stored, request.measured_as, figure)
    except OSError as error:  # measured again at the next start, that is all
        log.warning("the figures of %s are not kept: %s", plan.stored.path, error)
    return figure
