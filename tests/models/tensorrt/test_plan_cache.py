from __future__ import annotations

import dataclasses
import errno
import os
import threading
from pathlib import Path

import pytest

from models.accuracy import Accuracy
from models.errors import BuildCancelled
from models.plan_cache import MAGIC, PlanCache, PlanKey

KEY = PlanKey(
    model="oak",
    weights_sha256="ab" * 32,
    precision="fp16",
    library="tensorrt 11.4.0.106",
    gpu="NVIDIA H200",
    capability="9.0",
    buckets=(1, 2, 4, 8),
    input_shape=(3, 320, 320),
    tensors=(None, "fine"),
    flags=("no_tf32",),
    optimization_level=3,
    workspace_bytes=0,
)
PLAN = bytes(range(256)) * 40
FIGURE = Accuracy(0.01, 0.001, 15)
OTHERS = {
    "model": "ash",
    "weights_sha256": "cd" * 32,
    "precision": "fp32",
    "library": "tensorrt 11.4.0.107",
    "gpu": "NVIDIA H100",
    "capability": "8.9",
    "buckets": (1, 2, 4),
    "input_shape": (320, 320, 3),
    "tensors": (None, "coarse"),
    "flags": (),
    "optimization_level": 5,
    "workspace_bytes": 1 << 30,
    "states": (("r1i", "r1o"),),
}


@pytest.fixture
def cache(tmp_path):
    return PlanCache(tmp_path / "plans")


def other(**changes):
    return dataclasses.replace(KEY, **changes)


def test_what_was_written_is_read_back(cache):
    written = cache.write(KEY, PLAN)
    assert cache.read(KEY) == written
    assert written.data == PLAN
    assert written.path.name.startswith("oak-fp16-")


def test_an_empty_cache_has_nothing(cache):
    assert cache.read(KEY) is None


@pytest.mark.parametrize("part", [field.name for field in dataclasses.fields(PlanKey)])
def test_each_part_of_the_key_is_another_plan(cache, part):
    cache.write(KEY, PLAN)
    changed = other(**{part: OTHERS[part]})
    assert changed.digest != KEY.digest
    assert cache.read(changed) is None
    assert cache.read(KEY) is not None


def test_no_part_is_missing_from_the_list_of_others():
    assert set(OTHERS) == {field.name for field in dataclasses.fields(PlanKey)}


def damaged():
    start = len(MAGIC) + 4
    return {
        "empty": lambda packed: b"",
        "only the magic word": lambda packed: MAGIC,
        "another magic word": lambda packed: b"MATTEPL0" + packed[8:],
        "cut in the header": lambda packed: packed[: start + 10],
        "cut in the plan": lambda packed: packed[:-1],
        "longer": lambda packed: packed + b"x",
        "a bit of the plan": lambda packed: packed[:-9] + bytes([packed[-9] ^ 1]) + packed[-8:],
        "a bit of the header": lambda packed: packed.replace(b'"sha256"', b'"sha257"'),
        "a header of 4 GiB": lambda packed: MAGIC + b"\xff" * 4 + packed[start:],
        "a header that is no JSON": lambda packed: packed[:start] + b"x" + packed[start + 1 :],
        "a header that is a list": lambda packed: MAGIC + b"\x02\0\0\0[]" + PLAN,
        "the bare plan": lambda packed: PLAN,
    }


@pytest.mark.parametrize("what", damaged())
def test_a_damaged_file_is_found_said_and_deleted(cache, caplog, what):
    path = cache.write(KEY, PLAN).path
    path.write_bytes(damaged()[what](path.read_bytes()))
    assert cache.read(KEY) is None
    assert f"plan {path} is not used: it" in caplog.text
    assert not path.exists()


def test_a_plan_that_cannot_be_read_now_is_not_deleted(cache, monkeypatch):
    path = cache.write(KEY, PLAN).path

    def refuse(self):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert cache.read(KEY) is None
    assert path.exists()
    assert cache.read(KEY) is not None


def test_a_plan_of_another_key_under_this_name_is_not_used(cache, caplog):
    mine = cache.write(KEY, PLAN).path
    foreign = cache.write(other(gpu="another"), PLAN).path
    os.replace(foreign, mine)  # noqa: PTH105
    assert cache.read(KEY) is None
    assert "built for something else" in caplog.text


def test_figures_are_kept_for_each_gpu(cache):
    plan = cache.write(KEY, PLAN)
    cache.keep_accuracy(KEY, plan, "A", FIGURE)
    cache.keep_accuracy(KEY, plan, "B", dataclasses.replace(FIGURE, images=1))
    assert cache.accuracy(KEY, plan, "A") == FIGURE
    assert cache.accuracy(KEY, plan, "B").images == 1
    assert cache.accuracy(KEY, plan, "C") is None


def test_an_infinite_figure_is_kept_too(cache):
    plan = cache.write(KEY, PLAN)
    figure = Accuracy(float("inf"), float("inf"), 1)
    cache.keep_accuracy(KEY, plan, "A", figure)
    assert cache.accuracy(KEY, plan, "A") == figure


def test_figures_of_another_plan_do_not_count(cache):
    cache.keep_accuracy(KEY, cache.write(KEY, PLAN), "A", FIGURE)
    figures = cache.path(KEY).with_suffix(".json").read_bytes()
    plan = cache.write(KEY, PLAN[1:])
    cache.path(KEY).with_suffix(".json").write_bytes(figures)
    assert cache.accuracy(KEY, plan, "A") is None


def test_a_plan_written_again_has_no_figures(cache):
    cache.keep_accuracy(KEY, cache.write(KEY, PLAN), "A", FIGURE)
    assert cache.accuracy(KEY, cache.write(KEY, PLAN), "A") is None


@pytest.mark.parametrize("text", ["", "[]", '{"plan_sha256": 1}', '{"accuracy": {"A": 3}}'])
def test_damaged_figures_count_as_none(cache, text):
    plan = cache.write(KEY, PLAN)
    cache.path(KEY).with_suffix(".json").write_text(text)
    assert cache.accuracy(KEY, plan, "A") is None
    cache.keep_accuracy(KEY, plan, "A", FIGURE)
    assert cache.accuracy(KEY, plan, "A") == FIGURE


def test_the_longest_unused_plans_are_deleted_first(tmp_path):
    cache = PlanCache(tmp_path, max_bytes=3 * len(PLAN))
    keys = [other(model=name) for name in ("ash", "elm", "fir")]
    for age, key in enumerate(keys):
        plan = cache.write(key, PLAN[:-1000])
        cache.keep_accuracy(key, plan, "A", FIGURE)
        os.utime(plan.path, (age, age))
    assert cache.read(keys[0]) is not None  # used now, so "elm" is the oldest
    cache.write(KEY, PLAN[:-1000])
    assert [cache.read(key) is not None for key in (*keys, KEY)] == [True, False, True, True]
    assert not cache.path(keys[1]).with_suffix(".json").exists()


def test_a_plan_above_the_limit_stays_alone(tmp_path):
    cache = PlanCache(tmp_path, max_bytes=10)
    cache.write(KEY, PLAN)
    cache.write(other(model="ash"), PLAN)
    assert cache.read(KEY) is None
    assert cache.read(other(model="ash")) is not None


def test_a_lock_is_held_by_one_at_a_time(cache):
    held, inside, order = threading.Event(), threading.Event(), []

    def second():
        held.wait(5)
        with cache.lock(KEY, lambda: bool(inside.set())):  # asked, so it waits
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with cache.lock(KEY):
        held.set()
        assert inside.wait(5)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_waiting_for_a_lock_ends_when_it_is_cancelled(cache):
    with cache.lock(KEY), pytest.raises(BuildCancelled), cache.lock(KEY, lambda: True):
        pass


def test_locks_of_two_plans_do_not_meet(cache):
    with cache.lock(KEY), cache.lock(other(model="ash"), lambda: True):
        pass
