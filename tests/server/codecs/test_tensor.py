"""Pictures as tensors."""

from __future__ import annotations

import numpy as np
import pytest

from server.codecs.tensor import ElementType, TensorWish, make_tensor

RGB = np.random.default_rng(8).integers(0, 256, (5, 7, 3), np.uint8)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_uint8_is_the_picture_itself():
    tensor = make_tensor(RGB[:, ::-1], TensorWish(ElementType.UINT8))
    assert tensor.shape == (5, 7, 3)
    assert tensor.data == RGB[:, ::-1].copy().tobytes()


@pytest.mark.parametrize(
    ("element", "dtype", "off"), [("fp32", "<f4", 1e-6), ("fp16", "<f2", 2e-3)]
)
def test_floats_are_normalised_planes(element, dtype, off):
    tensor = make_tensor(RGB, TensorWish(ElementType(element), MEAN, STD))
    assert tensor.shape == (1, 3, 5, 7)
    planes = np.frombuffer(tensor.data, dtype).reshape(tensor.shape)
    truth = ((RGB / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
    assert np.abs(planes - truth).max() <= off


def test_without_mean_and_std_values_run_from_0_to_1():
    ends = np.array([[[0, 255, 51]]], np.uint8)
    values = np.frombuffer(make_tensor(ends, TensorWish()).data, "<f4")
    assert np.allclose(values, [0, 1, 0.2])


def test_what_fp16_cannot_hold_becomes_infinite_without_a_warning():
    wish = TensorWish(ElementType.FP16, std=(1e-6, 1.0, 1.0))
    values = np.frombuffer(make_tensor(np.full((1, 1, 3), 255, np.uint8), wish).data, "<f2")
    assert values.tolist() == [np.inf, 1, 1]


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"mean": (0.5,)}, "mean has 1 values: give three"),
        ({"std": (1.0, 0.0, 1.0)}, "none of the three may be 0"),
        ({"std": (1.0, float("nan"), 1.0)}, "three finite numbers"),
        ({"type": ElementType.UINT8, "mean": MEAN}, "UINT8 holds the pixels as they are"),
    ],
)
def test_what_makes_no_sense_is_refused(wish, sentence):
    with pytest.raises(ValueError, match=sentence):
        TensorWish(**wish)
