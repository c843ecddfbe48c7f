"""Runs our builder and engine through the real bindings of TensorRT 11 over the stub libraries.

`python bindings_check.py FOLDER CASE` prints "passed" at its end. A program of its own, started by
test_bindings.py with the stubs on LD_LIBRARY_PATH; what they give is good for type checks only.
Where the one stub object cannot tell two things apart (input from output), a wrapper makes the real
call first, which is checked, and then says what a real library would.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from models import tensorrt_library
from models.manifest import read_manifest
from models.plan_cache import PlanCache, PlanKey
from models.tensorrt_builder import FLAGS, BuildSettings, build_plan
from models.tensorrt_engine import TensorRTEngine
from models.tensorrt_library import TensorRT, open_tensorrt
from models.tensorrt_plans import Plan
from tests.fakes.emulated_device import EmulatedDevice

MANIFEST = """
name = "stub"
version = "1"
description = "What stub.c declares."
license = "none"
commercial_use = true
[weights]
file = "stub.onnx"
[input]
width = 32
height = 32
[output]
channel = 0
"""


def main(folder: Path, case: str) -> None:
    trt = importlib.import_module("tensorrt_bindings")
    library = open_tensorrt("tensorrt", lambda _: trt)
    # The size of the stub's host memory is nonsense.
    tensorrt_library.host_bytes = lambda memory: type(memory).__name__.encode()
    tensorrt_library.count_cuda_devices = lambda: 1
    (folder / "stub.toml").write_text(MANIFEST)
    (folder / "stub.onnx").write_bytes(b"not read by the stub")
    {"build": build, "engine": engine, "states": states, "wrong": wrong}[case](library, folder)
    print("passed", library.title)
    sys.stdout.flush()
    os._exit(0)  # the objects are one: freeing them one by one makes no sense


def build(library: TensorRT, folder: Path, level: object = 4) -> None:
    settings = BuildSettings("fp16", (1, 2, 8), level, 1 << 30, folder / "timing.cache")
    manifest = read_manifest(folder / "stub.toml")
    for _ in range(2):  # the second time there is a file of kernel times
        plan = build_plan(
            library,
            folder / "stub.onnx",
            manifest,
            settings,
            on_progress=lambda phase, fraction: None,
            cancelled=lambda: False,
        )
    assert plan == b"IHostMemory", plan
    assert (folder / "timing.cache").read_bytes() == b"IHostMemory"
    # What this network's stub gives no reason for.
    trt = library.module
    network = trt.Builder(library.logger).create_network(0)
    network.unmark_output(network.get_output(0))
    parser = trt.OnnxParser(network, library.logger)
    assert parser.get_error(0).node_name() == "tensor"
    assert (parser.get_error(0).node_operator(), parser.get_error(0).desc()) == ("tensor",) * 2
    config = trt.Builder(library.logger).create_builder_config()
    config.get_timing_cache().combine(config.create_timing_cache(b""), False)


def engine(library: TensorRT, folder: Path) -> None:
    tell_tensors_apart(library.module, ("image",), ("alpha",))
    made = opened(library, folder, (1, 2))
    assert (made.input.name, made.input.element) == ("image", "fp16")
    assert (made.output.name, made.output.shape) == ("alpha", (3, 32, 32))
    bind_and_run(made, 2, ())


def states(library: TensorRT, folder: Path) -> None:
    tell_tensors_apart(library.module, ("image", "before"), ("alpha", "after"))
    made = opened(library, folder, (1,), (("before", "after"),))
    (state,) = made.states
    assert (state.shape, state.element) == ((1, 3, 32, 32), "fp16"), state
    bind_and_run(made, 1, ((1 << 12, 1 << 13),))


def opened(
    library: TensorRT,
    folder: Path,
    buckets: tuple[int, ...],
    pairs: tuple[tuple[str, str], ...] = (),
) -> TensorRTEngine:
    manifest = read_manifest(folder / "stub.toml")
    shape, tensors = manifest.input.shape, (manifest.input.tensor, manifest.output.tensor)
    key = PlanKey(
        *("stub", "0", "fp16", library.title, "g", "9.0"),
        *(buckets, shape, tensors, FLAGS, 3, 0, pairs),
    )
    cache = PlanCache(folder)
    device = EmulatedDevice()
    device.use()
    return TensorRTEngine(library, Plan(cache.write(key, b"plan"), key, cache, 1.0), device)


def bind_and_run(made: TensorRTEngine, batch: int, addresses: tuple[tuple[int, int], ...]) -> None:
    device = EmulatedDevice()
    memory = device.allocate(1 << 20)
    binding = made.bind(batch, memory.address, memory.address, addresses)
    binding.enqueue(device.new_stream())
    made.close()
    made.close()


def tell_tensors_apart(trt: object, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    names, mode = (*inputs, *outputs), trt.TensorIOMode
    after(trt.ICudaEngine, "get_tensor_name", lambda index: names[index])
    after(
        trt.ICudaEngine,
        "get_tensor_mode",
        lambda name: mode.INPUT if name in inputs else mode.OUTPUT,
    )
    after(trt.IExecutionContext, "infer_shapes", list)
    real = trt.ICudaEngine.num_io_tensors
    trt.ICudaEngine.num_io_tensors = property(lambda self: real.__get__(self) and len(names))


def after(kind: type, name: str, says: object) -> None:
    """The real method, whose answer is replaced."""
    real = getattr(kind, name)

    def both(self: object, *arguments: object) -> object:
        real(self, *arguments)
        return says(*arguments)

    setattr(kind, name, both)


def wrong(library: TensorRT, folder: Path) -> None:
    trt = library.module
    config = trt.Builder(library.logger).create_builder_config()
    context = (
        trt.Runtime(library.logger)
        .deserialize_cuda_engine(b"plan")
        .create_execution_context(trt.ExecutionContextAllocationStrategy.STATIC)
    )
    profile = trt.Builder(library.logger).create_optimization_profile()
    calls = {
        "a level in words": lambda: build(library, folder, "four"),
        "a flag in words": lambda: config.clear_flag("TF32"),
        "no address": lambda: context.set_tensor_address("image", None),
        "no stream": lambda: context.execute_async_v3(None),
        "the old call": lambda: context.execute_async_v3(1, 2),
        "a profile without its largest": lambda: profile.set_shape("image", (1,), (1,)),
        "a plan in words": lambda: trt.Runtime(library.logger).deserialize_cuda_engine("plan"),
    }
    for what, call in calls.items():
        try:
            call()
        except TypeError:
            continue
        raise AssertionError(f"{what} was taken")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
