"""Plans from the cache or built: real builds by TensorRT-RTX."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from models import tensorrt_plans
from models.errors import BuildCancelled, EngineFailed
from models.tensorrt_plans import find_or_build


@pytest.fixture
def builds(monkeypatch):
    """How many plans were really built."""
    counted = []
    real = tensorrt_plans.build_plan

    def build_plan(*arguments, **settings):
        counted.append(arguments[3])
        return real(*arguments, **settings)

    monkeypatch.setattr(tensorrt_plans, "build_plan", build_plan)
    return counted


def test_a_plan_is_built_once(request_for, tiny, builds):
    request = request_for(tiny(max_batch=2))
    first = find_or_build(request, "fp16")
    second = find_or_build(request, "fp16")
    assert (first.was_built, second.was_built) == (True, False)
    assert first.stored == second.stored
    assert [settings.buckets for settings in builds] == [(1, 2)]


def test_each_precision_is_a_plan_of_its_own(request_for, tiny, builds):
    request = request_for(tiny())
    assert find_or_build(request, "fp16").stored.path != find_or_build(request, "fp32").stored.path
    assert [settings.precision for settings in builds] == ["fp16", "fp32"]


def test_other_weights_are_another_plan(request_for, tiny, builds):
    find_or_build(request_for(tiny()), "fp32")
    find_or_build(request_for(tiny(gain=0.5)), "fp32")
    assert len(builds) == 2


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-100], lambda data: b"", lambda data: data[::-1]]
)
def test_a_damaged_plan_is_built_again(request_for, tiny, builds, damage):
    request = request_for(tiny())
    plan = find_or_build(request, "fp32")
    plan.stored.path.write_bytes(damage(plan.stored.path.read_bytes()))
    again = find_or_build(request, "fp32")
    assert again.was_built
    assert len(builds) == 2
    assert find_or_build(request, "fp32").stored == again.stored


def test_force_builds_what_is_there(request_for, tiny, builds):
    request = request_for(tiny())
    find_or_build(request, "fp32")
    assert find_or_build(request, "fp32", force=True).was_built
    assert len(builds) == 2


def test_a_plan_of_tensorrt_rtx_is_for_any_gpu(request_for, tiny):
    model = tiny()
    here = find_or_build(request_for(model), "fp32")
    there = find_or_build(request_for(model, gpu_name="X", capability="8.9"), "fp32")
    assert not there.was_built
    assert there.key == here.key


def test_of_several_builders_one_builds_and_the_others_read(request_for, tiny, builds):
    model = tiny(work=4)
    start = threading.Barrier(4)

    def build(_):
        start.wait(10)
        return find_or_build(request_for(model), "fp32").stored

    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(build, range(4)))
    assert len(builds) == 1
    assert len({each.sha256 for each in stored}) == 1


def test_a_cancelled_build_leaves_nothing_behind(request_for, tiny):
    request = request_for(tiny(), cancelled=lambda: True)
    with pytest.raises(BuildCancelled):
        find_or_build(request, "fp32")
    assert list((request.cache_dir / "plans").glob("*.plan")) == []
    assert list((request.cache_dir / "plans").glob("*.part")) == []


def test_a_cache_that_cannot_be_written_is_a_sentence(request_for, tiny, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    request = request_for(tiny(), cache_dir=tmp_path / "file")
    with pytest.raises(EngineFailed, match="the plan of model 'tiny' cannot be kept in"):
        find_or_build(request, "fp32")


def test_progress_names_the_precision(request_for, tiny):
    told = []
    request = request_for(tiny(), on_progress=lambda phase, fraction: told.append(phase))
    find_or_build(request, "fp32")
    assert all(phase.startswith("fp32 plan: ") for phase in told)
    assert told


def test_another_output_of_the_same_file_is_another_plan(request_for, tiny, builds):
    manifest, weights = tiny()
    unnamed = dataclasses.replace(manifest.output, tensor=None)
    named = find_or_build(request_for((manifest, weights)), "fp32")
    other = dataclasses.replace(manifest, output=unnamed)
    assert find_or_build(request_for((other, weights)), "fp32").key != named.key
    assert len(builds) == 2


@pytest.mark.parametrize(
    "change", [{"mean": (0.5, 0.5, 0.5)}, {"fit": "letterbox"}, {"channels": "BGR"}]
)
def test_figures_are_of_what_the_manifest_says(request_for, tiny, change):
    manifest, weights = tiny()
    other = dataclasses.replace(manifest, input=dataclasses.replace(manifest.input, **change))
    first, second = request_for((manifest, weights)), request_for((other, weights))
    assert first.measured_as != second.measured_as
    assert first.measured_as == request_for((manifest, weights)).measured_as


def test_other_states_of_the_same_file_are_another_plan(request_for, echo, builds):
    manifest, weights = echo
    key = find_or_build(request_for(echo), "fp32").key
    assert key.states == (("before", "after"),)
    other = dataclasses.replace(manifest.states[0], output="alpha")
    swapped = dataclasses.replace(manifest, states=(other,))
    assert find_or_build(request_for((swapped, weights)), "fp32").key != key
    assert len(builds) == 2
