"""Prompts for the click model: what is drawn, and where a patient user clicks next."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.prompts import Box, Click, draw_maps, inner_click, next_click, rough_box
from models.training.scenes import SMALLEST, SceneSampler


def test_each_prompt_is_drawn_on_its_own_map() -> None:
    earlier = np.full((20, 20), 0.5, np.float32)
    maps = draw_maps(
        [Click(0.25, 0.5), Click(0.75, 0.5, wanted=False)], Box(0.5, 0.0, 1.0, 0.5), earlier, 40
    )
    assert maps.shape == (40, 40, 4)
    assert (maps[20, 10, 0], maps[20, 30, 0]) == (255, 0)
    assert (maps[20, 10, 1], maps[20, 30, 1]) == (0, 255)
    assert maps[..., 2].mean() == pytest.approx(255 / 4)
    assert np.all(maps[..., 3] == 128)


def test_no_prompt_gives_empty_maps() -> None:
    assert draw_maps([], None, None, 16).max() == 0


def test_the_next_click_falls_on_the_larger_error(disc) -> None:
    truth = disc(64, 20)
    first = next_click(np.zeros_like(truth), truth)
    assert first == Click(pytest.approx(0.5, abs=0.05), pytest.approx(0.5, abs=0.05))
    too_much = np.maximum(truth, disc(64, 12, shift=25))
    found = next_click(too_much, truth)
    assert found is not None
    assert not found.wanted
    assert found.x > 0.8
    assert next_click(truth, truth) is None


def test_inner_clicks_lie_inside(disc) -> None:
    region = disc(64, 10) > 0.5
    for seed in range(20):
        click = inner_click(np.random.default_rng(seed), region, True)
        assert click is not None
        assert region[int(click.y * 64), int(click.x * 64)]
    assert inner_click(np.random.default_rng(0), np.zeros((8, 8), bool), True) is None


def test_a_rough_box_stays_near_the_region_and_inside_the_picture(disc) -> None:
    region = disc(64, 20) > 0.5
    for seed in range(20):
        box = rough_box(np.random.default_rng(seed), region)
        assert 0.1 < box.left < 0.24
        assert 0.76 < box.right < 0.9


def test_scenes_ask_for_one_visible_subject_and_repeat_exactly(pool, mix) -> None:
    scenes = SceneSampler(pool, mix(1, 1, 1, 1), seed=3)
    for index in range(20):
        rgb, maps, prompts = scenes.sample(index, 64)
        assert (rgb.shape, maps.shape, prompts.shape) == ((64, 64, 3), (64, 64, 4), (32, 32, 4))
        assert (maps[..., 0] > 127).mean() > SMALLEST
        assert prompts.max() > 0
        assert np.array_equal(rgb, scenes.sample(index, 64)[0])


def test_subjects_in_front_are_cut_out_of_those_behind(pool, mix) -> None:
    scenes = SceneSampler(pool, mix(1, 1, 1, 1), seed=3)
    for seed in range(20):
        _, alphas, _ = scenes.scene(np.random.default_rng(seed), 64)
        assert np.sum(alphas, axis=0).max() < 1.01
