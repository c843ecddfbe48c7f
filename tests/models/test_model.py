"""Preparing images and reading answers: each layout, channel and activation, on little nets."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.errors import EngineFailed
from models.manifest import read_manifest
from models.model import Model
from models.onnx_engine import OnnxEngine
from tests.fakes.tiny_onnx import STEEPNESS, write_tiny_model


def model(folder, **settings):
    manifest = read_manifest(write_tiny_model(folder, "acorn", **settings))
    return Model(manifest, OnnxEngine(folder / "acorn.onnx", manifest), "0" * 64)


class Answers:
    """An engine that answers what it was given, whatever the question."""

    name, device, precision, max_batch, max_concurrent_runs = "fake", "cpu", "fp32", 8, 1

    def __init__(self, raw):
        self.raw = np.asarray(raw, np.float32)

    def run(self, batch):
        return self.raw

    def close(self):
        pass


def answering(folder, raw, **output):
    manifest = read_manifest(write_tiny_model(folder, "acorn"))
    manifest = dataclasses.replace(manifest, output=dataclasses.replace(manifest.output, **output))
    return Model(manifest, Answers(raw), "0" * 64)


GREY = np.full((40, 60, 3), 128, np.uint8)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_alpha_is_read_in_either_layout(tmp_path, layout):
    made = model(tmp_path, layout=layout)
    half = GREY.copy()
    half[:, 30:] = 255
    alphas = made.run(made.prepare(half))
    assert alphas.shape == (1, 32, 32)
    assert alphas.dtype == np.float32
    assert alphas.flags.c_contiguous
    assert alphas[0, :, :14] == pytest.approx(128 / 255, abs=1e-6)
    assert alphas[0, :, 18:] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_two_logits_become_the_subjects_share(tmp_path, layout):
    made = model(tmp_path, layout=layout, two_channel=True)
    for level in (0, 100, 128, 255):
        alphas = made.run(made.prepare(np.full((9, 9, 3), level, np.uint8)))
        expected = 1 / (1 + np.exp(-2 * STEEPNESS * (level / 255 - 0.5)))
        assert alphas == pytest.approx(expected, abs=1e-4)


def test_a_sigmoid_is_applied_where_the_manifest_says_so(tmp_path):
    made = model(tmp_path, activation="sigmoid", gain=8, bias=-4)
    alphas = made.run(made.prepare(GREY))
    assert alphas == pytest.approx(1 / (1 + np.exp(-(8 * 128 / 255 - 4))), abs=1e-5)


def test_a_sigmoid_of_huge_values_is_0_and_1_without_a_warning(tmp_path):
    raw = np.array([[[[-1e30, 1e30]]]])
    alphas = answering(tmp_path, raw, activation="sigmoid").alphas(raw)
    assert alphas.tolist() == [[[pytest.approx(0), 1]]]


def test_a_softmax_of_huge_values_does_not_overflow(tmp_path):
    raw = np.array([[[[1e4]], [[-1e4]]]], np.float32)
    alphas = answering(tmp_path, raw, activation="softmax", channel=0).alphas(raw)
    assert alphas.tolist() == [[[1.0]]]


def test_minmax_stretches_each_image_by_itself(tmp_path):
    raw = np.array([[[[0.2, 0.3, 0.4]]], [[[-5, 0, 5]]]], np.float32)
    alphas = answering(tmp_path, raw, activation="minmax").alphas(raw)
    assert alphas == pytest.approx(np.array([[[0, 0.5, 1]], [[0, 0.5, 1]]]), abs=1e-6)


def test_minmax_leaves_a_flat_image_as_it_is(tmp_path):
    raw = np.full((1, 1, 2, 2), 0.25, np.float32)
    assert answering(tmp_path, raw, activation="minmax").alphas(raw) == pytest.approx(0.25)


def test_values_beyond_0_and_1_are_clipped(tmp_path):
    made = model(tmp_path, gain=3, bias=-1)
    assert made.run(made.prepare(GREY * 0)).max() == 0
    assert made.run(made.prepare(np.full((5, 5, 3), 255, np.uint8))).min() == 1


def test_the_manifests_channel_is_the_one_that_is_read(tmp_path):
    raw = np.stack([np.full((1, 4, 4), c / 10, np.float32) for c in range(3)], axis=1)
    assert answering(tmp_path, raw, channel=2).alphas(raw) == pytest.approx(0.2)


def test_an_output_without_channels_is_the_alpha_itself(tmp_path):
    raw = np.full((2, 4, 5), 0.5, np.float32)
    assert answering(tmp_path, raw, layout="NHW").alphas(raw).shape == (2, 4, 5)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_a_number_is_an_error(tmp_path, poison):
    raw = np.zeros((1, 1, 4, 4), np.float32)
    raw[0, 0, 2, 2] = poison
    with pytest.raises(
        EngineFailed, match=r"model 'acorn' .* answered values that are not numbers"
    ):
        answering(tmp_path, raw).alphas(raw)


def test_an_answer_with_other_axes_is_an_error(tmp_path):
    raw = np.zeros((1, 16), np.float32)
    with pytest.raises(EngineFailed, match=r"answered 2 axes \(1, 16\), not NCHW"):
        answering(tmp_path, raw).alphas(raw)


def test_an_answer_with_other_channels_is_an_error(tmp_path):
    raw = np.zeros((1, 2, 4, 4), np.float32)
    with pytest.raises(EngineFailed, match=r"'output.channel' is missing"):
        answering(tmp_path, raw).alphas(raw)


def test_an_answer_for_another_number_of_images_is_an_error(tmp_path):
    made = answering(tmp_path, np.zeros((2, 1, 4, 4)))
    with pytest.raises(EngineFailed, match="answered 2 images for 1"):
        made.run(made.prepare(GREY))


def test_alphas_keep_the_order_of_the_images(tmp_path):
    made = model(tmp_path, max_batch=4)
    greys = (10, 200, 90)
    batch = np.concatenate([made.prepare(np.full((7, 7, 3), g, np.uint8)) for g in greys])
    assert made.run(batch).mean(axis=(1, 2)) == pytest.approx([g / 255 for g in greys], abs=1e-5)


def test_warming_runs_the_network_once(tmp_path, monkeypatch):
    cold = model(tmp_path)
    run, batches = cold.engine.run, []
    monkeypatch.setattr(
        cold.engine, "run", lambda batch: (batches.append(len(batch)), run(batch))[1]
    )
    cold.warm()
    assert batches == [1]


def test_warming_finds_an_answer_that_a_letterbox_cannot_be_cut_out_of(tmp_path):
    manifest = read_manifest(write_tiny_model(tmp_path, "acorn", fit="letterbox"))
    odd = Model(manifest, Answers(np.zeros((1, 1, 16, 32))), "0" * 64)
    with pytest.raises(EngineFailed, match="answered 32 x 16 for 32 x 32: with fit 'letterbox'"):
        odd.warm()


def test_a_closed_model_runs_no_more(tmp_path):
    made = model(tmp_path)
    made.close()
    with pytest.raises(EngineFailed, match="closed"):
        made.warm()
