"""The network's raw answer on the device, against the twin and against the CPU's own code."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.activate import activate
from kernels.reference.activate import activate as twin
from models.model import _activate as on_the_cpu
from tests.kernels.cuda.arrays import empty, get, put

ACTIVATIONS = ["none", "sigmoid", "softmax", "minmax"]
# float32 exponentials of up to two units in the last place, on values up to 1.
TOLERANCE = 1e-6


def answer(channels, images, height, width, *, element=np.float32, spread=3.0):
    noise = np.random.default_rng(9).normal(0.3, spread, (channels, images, height, width))
    return noise.astype(element)


def run(device, stream, planes, activation="none", *, channel=0, layout="NCHW"):
    channels, images, height, width = planes.shape
    order = {"NCHW": (1, 0, 2, 3), "NHWC": (1, 2, 3, 0), "NHW": (1, 0, 2, 3)}[layout]
    raw = put(device, planes.transpose(order))
    alpha, flags = empty(device, 4 * planes[0].size), empty(device, 4 * images)
    ranges = empty(device, 8 * images)
    activate(
        device,
        stream,
        raw=raw.address,
        target=alpha.address,
        flags=flags.address,
        ranges=ranges.address,
        batch=images,
        channels=channels,
        width=width,
        height=height,
        channel=channel,
        layout=layout,
        activation=activation,
        element="fp16" if planes.dtype == np.float16 else "fp32",
    )
    device.synchronize(stream)
    shape = (images, height, width)
    return get(device, alpha, shape, np.float32), get(device, flags, (images,), np.uint32)


@pytest.mark.parametrize(
    "layout_size", [("NCHW", 1, 1), ("NHWC", 1, 1), ("NCHW", 37, 53), ("NHWC", 64, 203)]
)
@pytest.mark.parametrize("element", [np.float32, np.float16])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_alphas_agree_with_the_twin(device, stream, activation, element, layout_size):
    layout, *size = layout_size
    planes = answer(3, 2, *size, element=element)
    alphas, flags = run(device, stream, planes, activation, channel=1, layout=layout)
    expected, _ = twin(planes, 1, activation)
    assert np.abs(alphas - expected).max() < TOLERANCE
    assert not flags.any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_alphas_agree_with_what_the_cpu_path_makes(device, stream, activation):
    planes = answer(2, 3, 17, 33)
    alphas, _ = run(device, stream, planes, activation)
    expected = np.clip(on_the_cpu(planes, 0, activation), 0, 1)
    assert np.abs(alphas - expected).max() < TOLERANCE


def test_an_answer_without_a_channel_axis_is_read(device, stream):
    planes = answer(1, 2, 9, 14)
    alphas, _ = run(device, stream, planes, "sigmoid", layout="NHW")
    assert np.abs(alphas - twin(planes, 0, "sigmoid")[0]).max() < TOLERANCE


def test_a_plain_image_is_not_stretched_to_noise(device, stream):
    planes = answer(1, 1, 8, 8, spread=1e-8)
    alphas, _ = run(device, stream, planes, "minmax")
    assert np.abs(alphas - 0.3).max() < 1e-6


def test_each_image_is_stretched_by_its_own_range(device, stream):
    planes = answer(1, 2, 70, 70) * np.array([1, 100], np.float32).reshape(1, 2, 1, 1) - 5
    alphas, _ = run(device, stream, planes, "minmax")
    assert (alphas.min(axis=(1, 2)) == 0).all()
    assert (alphas.max(axis=(1, 2)) == 1).all()


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_image_with_nonsense_is_flagged_and_its_neighbours_are_not(
    device, stream, activation, nonsense
):
    planes = answer(2, 3, 21, 19)
    planes[1, 1, 20, 18] = nonsense
    alphas, flags = run(device, stream, planes, activation)
    expected, expected_flags = twin(planes, 0, activation)
    assert flags.tolist() == expected_flags.tolist() == [0, 1, 0]
    assert alphas[1, 20, 18] == 0
    assert np.abs(alphas - expected).max() < TOLERANCE


def test_a_flag_of_the_run_before_is_forgotten(device, stream):
    planes = answer(1, 1, 4, 4)
    planes[0, 0, 0, 0] = np.nan
    assert run(device, stream, planes)[1].tolist() == [1]
    assert run(device, stream, answer(1, 1, 4, 4))[1].tolist() == [0]


def test_a_channel_that_is_not_there_is_refused(device, stream):
    with pytest.raises(ValueError, match="channel is 2; allowed are 0 to 1"):
        run(device, stream, answer(2, 1, 3, 3), channel=2)
