"""From a request to an engine that may serve: cache, deserialising, accuracy, precision, closing.

Real plans by TensorRT-RTX; what runs in their place is ONNX Runtime (fake_runtime.py). No GPU takes
part: the calls of a real runtime are checked in test_bindings.py.
"""

from __future__ import annotations

import dataclasses
import logging
import types

import numpy as np
import pytest

from models import tensorrt_library, tensorrt_plans
from models.accuracy import on_device
from models.device_engine import DeviceEngine
from models.errors import (
    AccuracyRefused,
    DeviceNotAvailable,
    EngineFailed,
    LibraryMissing,
    PlanNotBuilt,
)
from models.tensorrt_engine import TensorRTEngine, load_or_build
from models.tensorrt_plans import find_or_build
from tests.fakes.emulated_device import EmulatedDevice
from tests.kernels.cuda.arrays import empty, get, put
from tests.models.tensorrt.fake_runtime import FakeTensorRT


@pytest.fixture
def fake(library, monkeypatch):
    made = FakeTensorRT(library)
    monkeypatch.setattr(tensorrt_library, "_opened", {"tensorrt-rtx": made.library})
    monkeypatch.setattr(tensorrt_library, "count_cuda_devices", lambda: 1)
    return made


@pytest.fixture
def device():
    return EmulatedDevice()


@pytest.fixture
def load(fake, device, tmp_path):
    def run(model, **settings):
        manifest, weights = model
        wanted = {
            "device": device,
            "device_index": 0,
            "gpu_name": "GPU",
            "capability": "8.9",
            "cache_dir": tmp_path / "cache",
            "library": "tensorrt-rtx",
        }
        return load_or_build(manifest, weights, **{**wanted, **settings})

    return run


def test_it_keeps_the_contract_of_a_device_engine(load, tiny):
    engine: DeviceEngine = load(tiny(max_batch=4))
    assert engine.name.startswith("tensorrt-rtx 1.")
    assert engine.buckets == (1, 2, 4)
    assert engine.can_be_captured
    assert (engine.input.name, engine.input.shape) == ("image", (3, 32, 32))
    assert (engine.output.name, engine.output.shape) == ("alpha", (1, 32, 32))


def test_auto_is_half_precision_where_it_is_accurate_enough(load, tiny):
    engine = load(tiny())
    assert engine.precision == engine.input.element == engine.output.element == "fp16"
    assert 0 < engine.accuracy.max_abs < 1e-2
    assert engine.accuracy.images == 1


def test_full_precision_when_it_is_asked_for(load, tiny):
    engine = load(tiny(), precision="fp32")
    assert engine.precision == engine.input.element == "fp32"
    assert engine.accuracy.max_abs < 1e-6


def test_every_place_of_every_batch_size_is_compared(load, tiny):
    assert load(tiny(max_batch=4), buckets=(1, 2, 4)).accuracy.images == 7


def test_the_second_load_builds_and_measures_nothing(load, tiny, fake):
    model = tiny()
    first = load(model)
    assert first.build_s > 0
    runs = len(fake.contexts)
    second = load(model)
    assert second.build_s == 0
    assert len(fake.builds) == 1
    assert len(fake.contexts) == runs
    assert second.accuracy == first.accuracy


def test_another_gpu_measures_a_portable_plan_again(load, tiny, fake):
    model = tiny()
    load(model)
    runs = len(fake.contexts)
    assert load(model, gpu_name="another GPU").build_s == 0
    assert len(fake.contexts) > runs


def test_force_builds_and_measures_again(load, tiny, fake):
    model = tiny()
    load(model, precision="fp32")
    runs = len(fake.contexts)
    load(model, precision="fp32", force=True)
    assert len(fake.builds) == 2
    assert len(fake.contexts) > runs


def test_auto_is_full_precision_where_half_is_too_far_off_and_says_so(load, tiny, fake, caplog):
    fake.spoil = lambda raw: raw + np.float16(0.3) if raw.dtype == np.float16 else raw
    engine = load(tiny())
    assert engine.precision == "fp32"
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "differs from ONNX Runtime" in record.message
    assert record.message.endswith("cuda:0 runs it in fp32 instead")


def test_half_precision_asked_for_by_name_is_refused_with_the_figures(load, tiny, fake):
    fake.spoil = lambda raw: raw + np.float16(0.3)
    with pytest.raises(AccuracyRefused, match=r"0\.\d+ in the mean .* ask for precision fp32"):
        load(tiny(), precision="fp16")


def test_a_refused_plan_stays_refused_without_running_again(load, tiny, fake):
    fake.spoil = lambda raw: raw + np.float16(0.3)
    model = tiny()
    for _ in range(2):
        with pytest.raises(AccuracyRefused):
            load(model, precision="fp16")
    assert len(fake.builds) == len(fake.contexts) == 1


def test_answers_that_are_no_numbers_are_refused(load, tiny, fake):
    fake.spoil = lambda raw: raw * np.nan
    with pytest.raises(AccuracyRefused, match="engine onnx"):
        load(tiny(), precision="fp32")


def test_a_plan_from_the_cache_that_is_refused_is_built_again(load, tiny, fake, caplog):
    model = tiny()
    load(model, precision="fp32")
    fake.refuse = 1
    engine = load(model, precision="fp32")
    assert engine.build_s > 0
    assert len(fake.builds) == 2
    assert any(each.message.endswith("it is built again") for each in caplog.records)


def test_a_plan_that_is_refused_when_new_is_an_error(load, tiny, fake):
    fake.refuse = 2
    with pytest.raises(EngineFailed, match="refuses the plan"):
        load(tiny(), precision="fp32")
    assert len(fake.builds) == 1


def test_a_run_gives_what_the_network_gives_in_any_place(load, tiny, device):
    engine = load(tiny(max_batch=4), precision="fp32")
    batch = np.random.default_rng(3).random((4, 3, 32, 32), np.float32)
    raw = on_device(engine, device)(batch)
    assert np.allclose(raw[:, 0], batch.mean(axis=1), atol=1e-6)


def test_each_binding_has_a_context_with_its_own_profile(load, tiny, device, fake):
    engine = load(tiny(max_batch=4))
    memory = device.allocate(1 << 16)
    before = len(fake.contexts)
    bound = [engine.bind(batch, memory.address, memory.address) for batch in (1, 4, 4)]
    assert [context.profile for context in fake.contexts[before:]] == [0, 2, 2]
    assert len(bound) == 3


def test_a_batch_size_that_was_not_built_is_refused(load, tiny):
    with pytest.raises(EngineFailed, match=r"batches of \(1, 2, 4\) cannot be bound to 3"):
        load(tiny(max_batch=4)).bind(3, 256, 512)


def test_a_refused_address_names_its_tensor(load, tiny):
    with pytest.raises(EngineFailed, match="refuses the address of 'image'"):
        load(tiny()).bind(1, 257, 512)


def test_the_default_stream_is_an_error(load, tiny, device):
    memory = device.allocate(1 << 16)
    binding = load(tiny()).bind(1, memory.address, memory.address)

    class Default:
        handle = 0

    with pytest.raises(EngineFailed, match="failed in a run: it gave no reason"):
        binding.enqueue(Default())


def test_nothing_runs_after_closing_and_closing_twice_is_fine(load, tiny, device):
    engine = load(tiny())
    memory = device.allocate(1 << 16)
    binding = engine.bind(1, memory.address, memory.address)
    engine.close()
    engine.close()
    with pytest.raises(EngineFailed, match="closed before this run"):
        binding.enqueue(device.new_stream())


def test_without_a_gpu_the_library_is_not_touched(load, tiny, fake, monkeypatch):
    monkeypatch.setattr(tensorrt_library, "count_cuda_devices", lambda: 0)
    monkeypatch.setattr(fake.library.module, "Runtime", None)
    with pytest.raises(DeviceNotAvailable, match="runs on NVIDIA GPUs, and there is none here"):
        load(tiny())


def test_the_real_library_refuses_a_real_plan_without_a_gpu(request_for, tiny, monkeypatch):
    if tensorrt_library.count_cuda_devices():
        pytest.skip("there is a GPU here, and it may well take the plan")
    monkeypatch.setattr(tensorrt_library, "count_cuda_devices", lambda: 1)
    request = request_for(tiny())
    plan = find_or_build(request, "fp32")
    with pytest.raises(EngineFailed) as raised:
        TensorRTEngine(request.library, plan, EmulatedDevice())
    assert f"refuses the plan {plan.stored.path}" in str(raised.value)
    assert "CUDA driver version is insufficient" in str(raised.value)


def test_progress_says_which_precision_and_when_it_compares(load, tiny):
    told = []
    load(tiny(), on_progress=lambda phase, fraction: told.append(phase))
    assert told[0].startswith("fp16 plan: ")
    assert told[-1] == "fp16 plan: comparing with ONNX Runtime"


@pytest.mark.parametrize("kind", [LibraryMissing, PlanNotBuilt])
def test_auto_is_full_precision_where_half_cannot_be_made(load, tiny, monkeypatch, caplog, kind):
    def half_twin(weights, cache_dir):
        raise kind("no twin of it")

    monkeypatch.setattr(tensorrt_plans, "half_twin", half_twin)
    model = tiny()
    assert load(model).precision == "fp32"
    assert "no twin of it; cuda:0 runs it in fp32 instead" in caplog.text
    with pytest.raises(kind):
        load(model, precision="fp16")


def test_a_plan_without_room_on_the_gpu_stays_and_is_not_built_again(load, tiny, fake, monkeypatch):
    model = tiny()
    path = load(model, precision="fp32").path

    def full(plan):
        fake.library.words.keep("Error Code 2: OutOfMemory (requested 9 bytes)")

    monkeypatch.setattr(fake, "_load", full)
    runtime = types.SimpleNamespace(deserialize_cuda_engine=full)
    monkeypatch.setattr(fake.library.module, "Runtime", lambda logger: runtime)
    with pytest.raises(EngineFailed, match="the GPU has no room for this plan"):
        load(model, precision="fp32")
    assert len(fake.builds) == 1
    assert path.is_file()


def test_a_plan_of_another_tensor_than_the_manifests_is_refused(fake, request_for, tiny, device):
    request = request_for(tiny())
    plan = find_or_build(request, "fp32")
    fake.builds.append(request.weights.path)
    wrong = dataclasses.replace(plan, key=dataclasses.replace(plan.key, tensors=(None, "fine")))
    with pytest.raises(EngineFailed, match=r"a plan of the tensor 'alpha', but .* 'fine'"):
        TensorRTEngine(fake.library, wrong, device)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_recurrent_networks_states_are_read_and_written_where_they_are_bound(
    load, echo, device, precision
):
    engine = load(echo, precision=precision)
    element = {"fp32": np.float32, "fp16": np.float16}[precision]
    assert [(each.input, each.output) for each in engine.states] == [("before", "after")]
    assert (engine.states[0].shape, engine.states[0].element) == ((1, 1, 16, 16), precision)
    assert engine.buckets == (1,)
    source = put(device, np.full((1, 3, 16, 16), 0.5, element))
    before, after = put(device, np.ones((16, 16), element)), empty(device, 1024)
    target = empty(device, engine.output.nbytes)
    addresses = [(before.address, after.address)]
    engine.bind(1, source.address, target.address, addresses).enqueue(device.new_stream())
    for memory in (target, after):  # half of the brightness, and half of what was before
        assert (get(device, memory, (16, 16), element) == 0.75).all()


def test_a_recurrent_network_is_compared_as_a_film_so_that_states_gone_astray_are_found(
    load, echo, fake
):
    assert load(echo, precision="fp32").accuracy.images == 4
    runs = []

    def forget(raw):
        runs.append(raw)
        return raw * 0 if len(runs) % 2 == 0 else raw  # alpha, after, alpha, after, ...

    fake.spoil = forget
    with pytest.raises(AccuracyRefused, match="differs from ONNX Runtime"):
        load(echo, precision="fp32", force=True)


def test_a_plan_whose_state_has_two_types_is_refused(load, echo, monkeypatch, fake):
    from tests.models.tensorrt.fake_runtime import FakeEngine

    real = FakeEngine.get_tensor_dtype

    def other(self, name):
        return types.SimpleNamespace(name="HALF") if name == "after" else real(self, name)

    monkeypatch.setattr(FakeEngine, "get_tensor_dtype", other)
    with pytest.raises(EngineFailed, match=r"its state 'before' is FLOAT .* as 'after', HALF"):
        load(echo, precision="fp32")
