"""Steadiness on the CPU is what the twin says, and does what it is for on moving scenes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kernels.cpu.temporal_blend import is_cut, luma_of_plane, temporal_blend
from kernels.reference import temporal_blend as twin
from kernels.reference.resize_normalise import resize_normalise
from tests.kernels.cpu.pictures import SIZES

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [0, 6, 14, 60])
def test_the_blend_agrees_with_the_twin(size: tuple[int, int], step: int) -> None:
    rng = np.random.default_rng(step)
    luma = rng.integers(60, 190, size).astype(np.uint8)
    before = (luma + rng.integers(-step, step + 1, size)).astype(np.uint8)
    alpha, alpha_before = rng.random((2, *size), np.float32)
    seen = temporal_blend(alpha, alpha_before, luma, before, 0.8)
    expected = twin.temporal_blend(alpha, alpha_before, luma, before, 0.8)
    assert seen.dtype == np.float32
    assert np.abs(seen - expected).max() <= 1e-5


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_luma_of_a_plane_agrees_with_the_twin_within_a_level(layout: str, channels: str) -> None:
    rgb = np.random.default_rng(5).integers(0, 256, (37, 53, 3), np.uint8)
    kind = {"layout": layout, "channels": channels}
    tensor = resize_normalise(rgb, 53, 37, MEAN, STD, **kind).astype(np.float32)
    luma = luma_of_plane(np.ascontiguousarray(tensor), MEAN, STD, **kind)
    assert np.abs(luma.astype(int) - twin.luma_of(rgb / 255)).max() <= 1


def test_a_cut_is_seen_and_a_pan_is_not() -> None:
    rng = np.random.default_rng(2)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (120, 200)).astype(np.uint8), (0, 0), 3)
    other = 255 - cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX)
    assert not is_cut(scene[:, 8:], scene[:, :-8])
    assert is_cut(np.full_like(scene, 40), other)
    assert twin.is_cut(np.full_like(scene, 40), other)


def test_flicker_falls_and_the_moving_edge_is_not_worse() -> None:
    rng = np.random.default_rng(3)
    height, width, frames = 96, 160, 40
    ground = cv2.GaussianBlur(rng.integers(40, 200, (height, width)).astype(np.float32), (0, 0), 4)
    shown, plain, truths, before = [], [], [], None
    for frame in range(frames):
        truth = np.zeros((height, width), np.float32)
        cv2.circle(truth, (40 + 2 * frame, 48), 24, 1.0, -1)
        picture = np.where(truth > 0.5, 235, ground) + rng.normal(0, 2, truth.shape)
        luma = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        alpha = np.clip(truth + rng.normal(0, 0.05, truth.shape), 0, 1).astype(np.float32)
        result = alpha if before is None else temporal_blend(alpha, before[0], luma, before[1], 0.8)
        before = result, luma
        shown.append(result), plain.append(alpha), truths.append(truth)
    moving = np.array([np.abs(a - b) > 0.5 for a, b in zip(truths[1:], truths, strict=False)])
    still = np.all(np.array(truths) == 0, axis=0)
    flicker = [np.std(np.array(each)[20:, still], axis=0).mean() for each in (shown, plain)]
    edge = [
        np.abs(np.array(each[1:]) - np.array(truths[1:]))[moving].mean() for each in (shown, plain)
    ]
    assert flicker[0] < 0.5 * flicker[1]
    assert edge[0] <= edge[1] * 1.02
