"""Images into network tensors: the OpenCV path against its NumPy twin.

Tolerances are in 8-bit levels (1 / 255 before mean and std). One step rounds once: half a level.
Halved images round at every step, and where the target's pixels cut through a halved pixel, both
sides get its mean: under 2 levels on smooth pictures, several on pure noise, the worst there is.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels import cpu, reference

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def noise(height, width):
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 97 + i) + np.cos(y / 61 - i) for i in range(3)]
    return (127.5 + 60 * np.dstack(waves)).astype(np.uint8)


def levels_apart(rgb, side_wh, **settings):
    width, height = side_wh
    fast = cpu.resize_normalise(rgb, width, height, *PLAIN, **settings)
    truth = reference.resize_normalise(rgb, width, height, *PLAIN, **settings)
    assert fast.dtype == np.float32
    assert fast.shape == truth.shape
    assert fast.flags.c_contiguous
    return np.abs(fast - truth) * 255


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize(
    "size_hw", [(1, 1), (17, 33), (1, 40), (40, 1), (33, 700), (700, 33), (319, 321)]
)
def test_small_and_odd_images_agree_with_the_twin_but_for_rounding(size_hw, fit):
    # A side that shrinks and one that grows take two steps: two roundings, and OpenCV's bilinear
    # weights have 11 bits.
    assert levels_apart(noise(*size_hw), (64, 48), fit=fit).max() <= 1.2


def test_one_step_shrinking_is_the_exact_area_average_rounded_once():
    assert levels_apart(noise(1080, 1920), (512, 512)).max() <= 0.51


def test_a_full_hd_picture_that_is_halved_first_stays_within_two_levels():
    apart = levels_apart(smooth(1080, 1920), (320, 320))
    assert apart.max() <= 2
    assert apart.mean() <= 0.6


def test_full_hd_noise_that_is_halved_first_keeps_its_mean_difference_small():
    apart = levels_apart(noise(1080, 1920), (320, 320))
    assert apart.mean() <= 5  # noise has no neighbours that agree: a photo has 0.7
    assert apart.max() <= 40


@pytest.mark.parametrize("size_hw", [(480, 854), (720, 1280), (1080, 1920), (600, 500), (961, 959)])
def test_a_picture_that_shrinks_by_up_to_three_stays_within_two_levels_of_its_area_average(size_hw):
    apart = levels_apart(smooth(*size_hw), (320, 320))
    assert apart.max() <= 2
    assert apart.mean() <= 0.6


@pytest.mark.parametrize("size_hw", [(480, 480), (480, 854), (720, 1280), (960, 960)])
def test_noise_that_shrinks_by_up_to_three_keeps_its_mean_and_most_of_its_spread(size_hw):
    # Weights of 3/8, 1/4, 3/8 instead of thirds leave a little more of the noise, never half.
    rgb = noise(*size_hw)
    fast = cpu.resize_normalise(rgb, 320, 320, *PLAIN)
    truth = reference.resize_normalise(rgb, 320, 320, *PLAIN)
    assert abs(fast.mean() - truth.mean()) * 255 <= 0.2
    assert fast.std() == pytest.approx(truth.std(), rel=0.12)


def test_what_would_lose_samples_in_a_linear_step_is_averaged_over_area():
    lines = np.zeros((1000, 1921, 3), np.uint8)  # six columns to one, which halving does not take
    lines[:, ::3] = 240
    assert levels_apart(lines, (320, 500)).max() <= 0.51


def test_halving_is_exact_where_the_sides_divide():
    apart = levels_apart(noise(1280, 2560), (320, 320))
    assert apart.max() <= 1.51  # three roundings


def test_a_thin_image_is_not_lost_in_a_letterbox():
    tensor = cpu.resize_normalise(
        np.full((1, 5000, 3), 255, np.uint8), 64, 64, *PLAIN, fit="letterbox"
    )
    assert tensor.max() == 1
    assert (tensor[0, 0].max(axis=1) > 0).sum() == 1


def test_fine_stripes_turn_grey_when_shrunk():
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    tensor = cpu.resize_normalise(stripes, 320, 320, *PLAIN)
    assert np.abs(tensor - 0.5).max() < 0.01


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_layout_channels_and_normalisation_agree_with_the_twin(layout, channels, fit):
    rgb = noise(90, 160)
    settings = {"layout": layout, "channels": channels, "fit": fit}
    fast = cpu.resize_normalise(rgb, 48, 32, *IMAGENET, **settings)
    truth = reference.resize_normalise(rgb, 48, 32, *IMAGENET, **settings)
    assert fast.shape == ((1, 3, 32, 48) if layout == "NCHW" else (1, 32, 48, 3))
    assert np.abs(fast - truth).max() <= 0.51 / 255 / 0.224 + 1e-5


def test_letterbox_bars_are_the_mean_colour():
    tensor = cpu.resize_normalise(noise(10, 40), 64, 64, *IMAGENET, fit="letterbox")
    assert not tensor[:, :, :24].any()
    assert not tensor[:, :, 40:].any()
    assert tensor[:, :, 24:40].all(axis=1).any()


def test_an_unknown_fit_is_refused_in_words():
    with pytest.raises(
        ValueError, match="fit is 'squash'; allowed are 'stretch', 'letterbox' and 'corner'"
    ):
        cpu.resize_normalise(noise(4, 4), 8, 8, *PLAIN, fit="squash")


def test_the_image_that_came_in_is_not_changed():
    rgb = noise(40, 50)
    before = rgb.copy()
    cpu.resize_normalise(rgb, 20, 20, *IMAGENET)
    assert np.array_equal(rgb, before)


def test_a_view_into_a_larger_image_reads_its_own_pixels():
    rgb = noise(200, 300)
    part = rgb[20:180, 50:250]
    fast = cpu.resize_normalise(part, 64, 64, *PLAIN)
    assert np.array_equal(fast, cpu.resize_normalise(part.copy(), 64, 64, *PLAIN))
