from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.accuracy import TOLERANCES, Accuracy, measure, on_device, pictures, require
from models.device_engine import TensorSpec
from models.errors import AccuracyRefused
from models.onnx_engine import OnnxEngine
from tests.fakes.emulated_device import EmulatedDevice


@pytest.fixture
def compare(tiny):
    """The figure of `change(raw output)` against the output itself."""

    def run(change=lambda raw: raw, batches=(1, 2, 4), activation=None, **settings):
        manifest, weights = tiny(max_batch=8, activation=activation, **settings)
        engine = OnnxEngine(weights.path, manifest, max_batch=8)
        return measure(manifest, weights, lambda batch: change(engine.run(batch)), batches)

    return run


def test_the_same_engine_differs_by_nothing_but_rounding(compare):
    figure = compare()
    assert figure.images == 7
    assert figure.max_abs < 1e-6


def test_a_constant_offset_is_the_figure(compare):
    figure = compare(lambda raw: raw * 0.5 + 0.25)
    assert 0.2 < figure.max_abs <= 0.5
    assert 0.01 < figure.mean_abs < figure.max_abs


def test_one_bad_place_in_a_batch_is_not_thinned_out(compare):
    def spoil(raw):
        if len(raw) == 8:
            raw[7] = 0
        return raw

    assert compare(spoil, (1, 8)).mean_abs > 0.2


def test_places_that_are_swapped_are_found(compare):
    assert compare(lambda raw: raw[::-1], (1,)).mean_abs < 1e-6
    assert compare(lambda raw: raw[::-1], (2,)).mean_abs > 0.05


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_infinitely_far_off(compare, value):
    figure = compare(lambda raw: np.full_like(raw, value))
    assert figure.max_abs == figure.mean_abs == float("inf")


def test_a_missing_answer_is_infinitely_far_off(compare):
    assert compare(lambda raw: raw[:1], (2,)).max_abs == float("inf")


def test_alphas_are_compared_and_not_logits(compare):
    # 20 * (brightness - 0.5) per channel: a shift of both logits changes no alpha.
    assert compare(lambda raw: raw + 5, two_channel=True).max_abs < 1e-6


def test_minmax_does_not_blow_up_the_noise_of_a_flat_answer(compare):
    noise = np.random.default_rng(1).random((8, 1, 32, 32), np.float32) * 1e-4
    figure = compare(lambda raw: raw + noise[: len(raw)], gain=0.0, activation="minmax")
    assert figure.max_abs < 1e-3


@pytest.mark.parametrize("precision", TOLERANCES)
def test_the_tolerance_is_the_limit(tiny, precision):
    manifest, _ = tiny()
    allowed = TOLERANCES[precision]
    require(manifest, "e", precision, Accuracy(allowed.max_abs, allowed.mean_abs, 1))
    for figure in (
        Accuracy(allowed.max_abs * 1.01, 0, 1),
        Accuracy(0, allowed.mean_abs * 1.01, 1),
        Accuracy(float("inf"), float("inf"), 1),
    ):
        with pytest.raises(AccuracyRefused, match=f"'tiny' in {precision} on e differs"):
            require(manifest, "e", precision, figure)


def test_the_pictures_are_the_same_each_time_and_have_dark_and_light():
    first, second = pictures(), pictures()
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))
    for picture in first:
        assert (picture.shape, picture.dtype) == ((360, 480, 3), np.uint8)
        assert picture.min() < 40
        assert picture.max() > 215
        assert picture.std() > 30


class Doubling:
    """An engine on the emulated device that doubles its input."""

    states = ()

    def __init__(self, element, late):
        self.device = EmulatedDevice(late=late)
        self.input = self.output = TensorSpec("x", (3, 5), element)

    def bind(self, batch, source, target, states=()):
        room = batch * self.input.nbytes
        outer = self

        class Binding:
            def enqueue(self, stream):
                def work():
                    import ctypes

                    dtype = np.float16 if outer.input.element == "fp16" else np.float32
                    read = np.frombuffer(ctypes.string_at(source, room), dtype)
                    ctypes.memmove(target, (read * 2).tobytes(), room)

                outer.device.run_or_record(stream, work)

        return Binding()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("element", ["fp32", "fp16"])
def test_a_device_engine_becomes_a_function(element, late):
    engine = Doubling(element, late)
    engine.device.use()
    batch = np.arange(30, dtype=np.float32).reshape(2, 3, 5)
    raw = on_device(engine, engine.device)(batch)
    assert raw.dtype == np.float32
    assert np.array_equal(raw, batch * 2)


def test_a_figure_is_plain_numbers_for_the_file_beside_the_plan(compare):
    figure = compare()
    assert all(type(each) in (float, int, str) for each in dataclasses.astuple(figure))


def test_random_numbers_are_refused_for_a_minmax_model_of_any_range(tiny, compare):
    rng = np.random.default_rng(4)
    settings = {"gain": 50.0, "bias": 3.0, "activation": "minmax"}
    figure = compare(lambda raw: rng.random(raw.shape, np.float32) * 50 + 3, **settings)
    with pytest.raises(AccuracyRefused):
        require(tiny()[0], "e", "fp16", figure)
    assert compare(**settings).max_abs < 1e-6
