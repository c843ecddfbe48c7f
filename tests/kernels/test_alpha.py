"""Alpha at the source's size, products of alphas and what is counted of them, against the twins."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import cpu, reference


def random_alpha(height, width, seed=3):
    return np.random.default_rng(seed).random((height, width), np.float32)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize(
    "size_wh", [(1, 1), (33, 17), (1, 900), (900, 1), (1920, 1080), (320, 320), (200, 900)]
)
def test_alpha_at_source_size_agrees_with_the_twin(size_wh, fit):
    alpha = random_alpha(320, 320)
    fast = cpu.alpha_to_source(alpha, *size_wh, fit=fit)
    truth = reference.alpha_to_source(alpha, *size_wh, fit=fit)
    assert fast.shape == (size_wh[1], size_wh[0])
    assert fast.dtype == np.uint8
    # Rounded to bytes before and after resizing, with OpenCV's 11-bit weights: one level, two in
    # the worst of two steps.
    assert np.abs(fast.astype(int) - truth).max() <= 2


def test_alpha_at_its_own_size_is_only_rounded():
    alpha = random_alpha(48, 64)
    assert np.array_equal(cpu.alpha_to_source(alpha, 64, 48), np.rint(255 * alpha).astype(np.uint8))


def test_zero_and_one_stay_exact_at_any_size():
    assert (cpu.alpha_to_source(np.zeros((32, 32), np.float32), 999, 777) == 0).all()
    assert (cpu.alpha_to_source(np.ones((32, 32), np.float32), 999, 777) == 255).all()


def test_half_pixel_centres_keep_an_edge_where_it_was():
    alpha = np.zeros((10, 10), np.float32)
    alpha[:, 5:] = 1
    rows = cpu.alpha_to_source(alpha, 1000, 10)
    assert (rows[:, :450] == 0).all()
    assert (rows[:, 550:] == 255).all()
    assert abs(int(rows[0, 499]) + int(rows[0, 500]) - 255) <= 2


def test_letterbox_bars_do_not_bleed_into_the_alpha():
    alpha = np.zeros((64, 64), np.float32)
    alpha[24:40] = 1  # the whole of a 4:1 image; the bars are 0
    assert (cpu.alpha_to_source(alpha, 400, 100, fit="letterbox") == 255).all()


@pytest.mark.parametrize(
    ("image_wh", "plane_wh"),
    [((1920, 1080), (320, 320)), ((33, 17), (64, 48)), ((300, 900), (96, 96))],
)
def test_what_a_letterbox_put_in_comes_back_to_its_place(image_wh, plane_wh):
    width, height = image_wh
    y, x = np.mgrid[0:height, 0:width]
    ramp = (255 * (0.5 + 0.5 * np.sin(x / width * 3) * np.cos(y / height * 2))).astype(np.uint8)
    rgb = np.dstack([ramp, ramp, ramp])
    tensor = cpu.resize_normalise(rgb, *plane_wh, (0, 0, 0), (1, 1, 1), fit="letterbox")
    back = cpu.alpha_to_source(tensor[0, 0], width, height, fit="letterbox")
    assert np.abs(back.astype(int) - ramp).mean() < 4


@pytest.mark.parametrize("size_hw", [(1, 1), (17, 33), (1, 500), (1080, 1920)])
def test_products_of_alphas_agree_with_the_twin_exactly(size_hw):
    first = np.rint(255 * random_alpha(*size_hw, seed=1)).astype(np.uint8)
    second = np.rint(255 * random_alpha(*size_hw, seed=2)).astype(np.uint8)
    assert np.array_equal(
        cpu.multiply_alpha(first, second), reference.multiply_alpha(first, second)
    )


@pytest.mark.parametrize("size_hw", [(1, 1), (17, 33), (1, 500), (500, 1), (1080, 1920)])
def test_statistics_agree_with_the_twin(size_hw):
    alpha = np.random.default_rng(5).integers(0, 256, size_hw, np.uint8)
    fast, truth = cpu.alpha_statistics(alpha), reference.alpha_statistics(alpha)
    assert fast.box == truth.box
    assert fast.coverage == pytest.approx(truth.coverage, abs=1e-9)
    assert fast.uncertainty == pytest.approx(truth.uncertainty, abs=1e-9)


def test_statistics_of_an_empty_alpha_have_no_box_and_no_doubt():
    nothing = cpu.alpha_statistics(np.zeros((30, 40), np.uint8))
    assert nothing == cpu.AlphaStatistics(box=None, coverage=0.0, uncertainty=0.0)


def test_statistics_of_a_full_alpha_are_certain():
    everything = cpu.alpha_statistics(np.full((30, 40), 255, np.uint8))
    assert everything == cpu.AlphaStatistics(box=(0, 0, 40, 30), coverage=1.0, uncertainty=0.0)


def test_the_box_begins_at_half_alpha_and_ends_just_past_the_subject():
    alpha = np.full((20, 30), 127, np.uint8)
    alpha[5:8, 10:21] = 128
    assert cpu.alpha_statistics(alpha).box == (10, 5, 21, 8)


def test_alpha_at_or_below_a_twentieth_counts_for_coverage_but_not_for_doubt():
    alpha = np.full((4, 4), 12, np.uint8)
    faint = cpu.alpha_statistics(alpha)
    assert faint.uncertainty == 0
    assert faint.coverage == pytest.approx(12 / 255)
    assert cpu.alpha_statistics(alpha + 1).uncertainty == pytest.approx(4 * 13 / 255 * 242 / 255)


def test_a_soft_subject_is_more_of_a_doubt_the_more_of_the_picture_it_takes():
    alpha = np.zeros((20, 20), np.uint8)
    alpha[:2, :10] = 128  # 20 of 400 pixels
    little = cpu.alpha_statistics(alpha).uncertainty
    alpha[:] = 128
    everything = cpu.alpha_statistics(alpha).uncertainty
    assert everything == pytest.approx(4 * 128 * 127 / 255**2)
    assert little == pytest.approx(everything * (1 + 20 / 400) / 2)
