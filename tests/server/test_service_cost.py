"""What images are expected to cost: learnt apart for networks and treatments, scaled by pixels."""

from __future__ import annotations

import random

import pytest

from server.service_cost import RECENT, Cost, Margin, ServiceCosts


def test_nothing_is_expected_of_what_was_never_seen() -> None:
    assert ServiceCosts().expected("tiny", "png", 2.0, on_device=False) == Cost(0.0, 0.0)


def test_the_first_image_sets_the_means_and_pixels_scale_them() -> None:
    costs = ServiceCosts()
    costs.note("tiny", "png", 2.0, network_s=0.1, rest_s=0.02)
    assert costs.expected("tiny", "png", 12.0, on_device=False) == pytest.approx((0.22, 0.0))


def test_on_an_accelerator_the_network_takes_no_worker() -> None:
    costs = ServiceCosts()
    costs.note("tiny", "png", 2.0, network_s=0.1, rest_s=0.02)
    assert costs.expected("tiny", "png", 2.0, on_device=True) == pytest.approx((0.02, 0.1))


def test_later_images_move_the_means_by_a_tenth() -> None:
    costs = ServiceCosts()
    costs.note("tiny", "png", 1.0, network_s=0.1, rest_s=0.0)
    costs.note("tiny", "png", 1.0, network_s=0.2, rest_s=0.0)
    assert costs.expected("tiny", "png", 1.0, on_device=False).worker_s == pytest.approx(0.11)


def test_the_least_is_what_the_cheapest_of_those_that_came_lately_was_expected_to_take() -> None:
    costs = ServiceCosts()
    assert costs.least() == Cost(0.0, 0.0)
    costs.note("large", "png", 1.0, network_s=0.3, rest_s=0.02)
    costs.note("small", "png", 1.0, network_s=0.1, rest_s=0.02)
    assert costs.least() == Cost(0.0, 0.0)
    dear = costs.expected("large", "png", 2.0, on_device=True)
    assert costs.least() == dear
    cheap = costs.expected("small", "png", 2.0, on_device=False)
    assert costs.least() == cheap
    for _ in range(RECENT):
        costs.expected("large", "png", 2.0, on_device=True)
    assert costs.least() == dear


def test_a_thumbnail_does_not_make_megapixels_dear() -> None:
    costs = ServiceCosts()
    costs.note("tiny", "png", 0.0001, network_s=0.0, rest_s=0.001)
    assert costs.expected("tiny", "png", 12.0, on_device=False).worker_s < 0.05


def test_models_and_treatments_are_learnt_apart() -> None:
    costs = ServiceCosts()
    costs.note("large", "webp", 1.0, network_s=1.0, rest_s=1.0)
    costs.note("small", "png", 1.0, network_s=0.1, rest_s=0.1)
    assert costs.expected("small", "webp", 1.0, on_device=False).worker_s == pytest.approx(1.1)
    assert costs.expected("large", "png", 1.0, on_device=False).worker_s == pytest.approx(1.1)


def test_the_margin_settles_where_five_images_in_a_thousand_are_slower() -> None:
    margin = Margin()
    draw = random.Random(1)
    took = [draw.uniform(0.5, 2.0) for _ in range(20_000)]
    slower = 0
    for number, seconds in enumerate(took):
        slower += number >= 10_000 and seconds > margin.value
        margin.note(1.0, seconds, is_done=True)
    assert 0.002 < slower / 10_000 < 0.01


def test_the_margin_has_bounds_however_bad_things_are() -> None:
    margin = Margin()
    for _ in range(100):
        margin.note(1.0, 1000.0, is_done=False)
    assert margin.value == 4.0
    for _ in range(100_000):
        margin.note(1.0, 0.1, is_done=True)
    assert margin.value == 1.0
