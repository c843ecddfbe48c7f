"""The last pass over an image on the device, against the twins it fuses and the CPU path."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import cpu, reference
from kernels.cuda.finish import alpha_offset, finish, finish_bytes, finish_with_alpha
from kernels.image import PixelFormat
from kernels.letterbox import place
from kernels.reference.finish import FinishOutput
from kernels.reference.finish import finish as twin
from kernels.statistics import HEADER_BYTES, header_of, read_statistics
from tests.kernels.cuda.arrays import empty, get, put
from tests.kernels.cuda.pictures import put_picture

OPAQUE, TRANSLUCENT = (12, 200, 99, 255), (250, 3, 120, 77)
OUTPUTS = [
    (FinishOutput.ALPHA, (0, 0, 0, 0)),
    (FinishOutput.CUTOUT, (0, 0, 0, 0)),
    (FinishOutput.OPAQUE, OPAQUE),
    (FinishOutput.TRANSLUCENT, TRANSLUCENT),
    (FinishOutput.TRANSLUCENT, (9, 8, 7, 0)),
    (FinishOutput.RGB, (0, 0, 0, 0)),
]
PLANE_WH = (48, 40)


def network_alpha():
    """Every case: a subject, nothing, and all between."""
    alpha = np.random.default_rng(6).random(PLANE_WH[::-1], np.float32)
    alpha[:12], alpha[30:] = 0, 1
    return alpha


def read(device, stream, target, picture, output):
    device.synchronize(stream)
    height, width = picture.rgb.shape[:2]
    result = get(device, target, (target.nbytes,), np.uint8)
    behind = output.channels * width * height
    pixels = result[HEADER_BYTES : HEADER_BYTES + behind].reshape(height, width, output.channels)
    alpha = None
    if output is FinishOutput.RGB:
        alpha = result[alpha_offset(output, width, height) :].reshape(height, width)
    return pixels.squeeze(2) if output is FinishOutput.ALPHA else pixels, alpha, header_of(result)


def from_network(device, stream, picture, output, *, color=(0, 0, 0, 0), fit="stretch", flags=0):
    height, width = picture.rgb.shape[:2]
    plane = put(device, network_alpha())
    target = empty(device, finish_bytes(output, width, height))
    finish(
        device,
        stream,
        image=picture.struct,
        alpha=plane.address,
        plane_wh=PLANE_WH,
        at=place((width, height), PLANE_WH, fit),
        target=target.address,
        output=output,
        color=color,
        flags=flags,
    )
    return read(device, stream, target, picture, output)


def from_alpha(device, stream, picture, output, *, alpha, color=(0, 0, 0, 0)):
    height, width = picture.rgb.shape[:2]
    memory, target = put(device, alpha), empty(device, finish_bytes(output, width, height))
    finish_with_alpha(
        device,
        stream,
        image=picture.struct,
        alpha=memory.address,
        target=target.address,
        output=output,
        color=color,
    )
    return read(device, stream, target, picture, output)


def random_alpha(width, height):
    alpha = np.random.default_rng(8).integers(0, 256, (height, width), np.uint8)
    alpha[: height // 4] = 0
    return alpha


def assert_same_statistics(header, truth, width, height):
    counted = read_statistics(header, width, height)
    assert counted.box == truth.box
    assert counted.coverage == pytest.approx(truth.coverage, rel=1e-12, abs=1e-15)
    assert counted.uncertainty == pytest.approx(truth.uncertainty, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("output", "color"), OUTPUTS)
@pytest.mark.parametrize("size_wh", [(1, 1), (3, 1), (1, 9), (37, 53), (36, 21), (317, 203)])
def test_pixels_behind_a_given_alpha_are_the_twins(device, stream, size_wh, output, color):
    picture, alpha = put_picture(device, *size_wh), random_alpha(*size_wh)
    pixels, beside, header = from_alpha(device, stream, picture, output, alpha=alpha, color=color)
    expected, expected_alpha, statistics = twin(picture.rgb_u8, alpha, output, color)
    difference = np.abs(pixels.astype(int) - expected)
    # Whole numbers here; the twin's doubles may fall to the wrong side of an exact tie.
    assert difference.max() <= 1
    assert (difference > 0).mean() < (0.02 if output is FinishOutput.TRANSLUCENT else 1e-9)
    assert beside is None or np.array_equal(beside, expected_alpha)
    assert_same_statistics(header, statistics, *size_wh)


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("width", [36, 37])
@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_every_layout_of_samples_is_read_right(device, stream, pixel_format, width, padding):
    picture = put_picture(device, width, 23, pixel_format, padding=padding)
    pixels, alpha, _ = from_alpha(
        device, stream, picture, FinishOutput.RGB, alpha=random_alpha(width, 23)
    )
    assert np.abs(pixels.astype(int) - picture.rgb_u8).max() <= (1 if picture.rgb.max() % 1 else 0)
    _, expected, _ = twin(
        picture.rgb_u8, random_alpha(width, 23), FinishOutput.RGB, own_alpha_u8=picture.alpha
    )
    assert np.array_equal(alpha, expected)


def test_colours_of_ycbcr_differ_from_the_twin_only_at_ties(device, stream):
    picture = put_picture(device, 317, 203, PixelFormat.NV12)
    alpha = random_alpha(317, 203)
    pixels, _, _ = from_alpha(device, stream, picture, FinishOutput.RGB, alpha=alpha)
    assert (pixels != picture.rgb_u8).mean() < 1e-3


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("output_color", OUTPUTS)
@pytest.mark.parametrize("size_wh", [(1, 1), (37, 53), (47, 203), (317, 203)])
def test_a_result_of_the_networks_alpha_is_the_twins(device, stream, size_wh, output_color, fit):
    output, color = output_color
    picture = put_picture(device, *size_wh)
    # What alpha it took is known from its own ALPHA output, which the twin is within one level of.
    alpha, _, header = from_network(device, stream, picture, FinishOutput.ALPHA, fit=fit)
    truth = reference.alpha_to_source(network_alpha(), *size_wh, fit=fit)
    assert np.abs(alpha.astype(int) - truth).max() <= 1
    assert (alpha != truth).mean() < 1e-3
    pixels, beside, header = from_network(device, stream, picture, output, color=color, fit=fit)
    expected, expected_alpha, statistics = twin(picture.rgb_u8, alpha, output, color)
    assert np.abs(pixels.astype(int) - expected).max() <= 1
    assert beside is None or np.array_equal(beside, expected_alpha)
    assert_same_statistics(header, statistics, *size_wh)


def test_a_1080p_cutout_agrees_with_the_twin(device, stream):
    picture = put_picture(device, 1920, 1080)
    pixels, _, header = from_network(device, stream, picture, FinishOutput.CUTOUT)
    alpha = reference.alpha_to_source(network_alpha(), 1920, 1080)
    assert np.abs(pixels[..., 3].astype(int) - alpha).max() <= 1
    assert np.array_equal(pixels, reference.cutout(picture.rgb_u8, pixels[..., 3]))
    assert_same_statistics(header, reference.alpha_statistics(pixels[..., 3]), 1920, 1080)


@pytest.mark.parametrize(
    ("pixel_format", "plane"), [(PixelFormat.RGB8, True), (PixelFormat.RGBA8, False)]
)
def test_what_was_transparent_before_stays_so(device, stream, pixel_format, plane):
    picture = put_picture(device, 53, 37, pixel_format, alpha=plane, padding=2)
    bare, _, _ = from_network(device, stream, put_picture(device, 53, 37), FinishOutput.ALPHA)
    alpha, _, _ = from_network(device, stream, picture, FinishOutput.ALPHA)
    assert np.array_equal(alpha, reference.multiply_alpha(bare, picture.alpha))


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size_wh", [(317, 203), (640, 360)])
def test_a_result_agrees_with_the_cpu_path(device, stream, size_wh, fit):
    picture = put_picture(device, *size_wh)
    pixels, _, _ = from_network(device, stream, picture, FinishOutput.OPAQUE, color=OPAQUE, fit=fit)
    alpha = cpu.alpha_to_source(network_alpha(), *size_wh, fit=fit)
    truth = cpu.composite(picture.rgb_u8, alpha, OPAQUE)
    # One level of alpha, then one of each of the CPU path's two rounded products.
    assert np.abs(pixels.astype(int) - truth).max() <= 2


def test_nonsense_of_the_network_is_handed_on_in_the_header(device, stream):
    picture, flags = put_picture(device, 20, 10), put(device, np.array([0, 1], np.uint32))
    _, _, first = from_network(device, stream, picture, FinishOutput.CUTOUT, flags=flags.address)
    _, _, other = from_network(
        device, stream, picture, FinishOutput.CUTOUT, flags=flags.address + 4
    )
    assert (first["not_finite"][0], other["not_finite"][0]) == (0, 1)


def test_an_opaque_composite_needs_an_opaque_colour(device, stream):
    picture = put_picture(device, 4, 4)
    with pytest.raises(ValueError, match="OPAQUE needs a colour with alpha 255, not 77"):
        from_network(device, stream, picture, FinishOutput.OPAQUE, color=TRANSLUCENT)
