"""The table behind the defaults: drawn hair is true to the pixel, and each run has its row."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from loadtest.drawn_hair import draw
from loadtest.quality import HAIR, SETTINGS, measure_hair, page, table
from server.evaluation.settings import read_settings


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    path = tmp_path / "ground.png"
    blotches = np.random.default_rng(1).integers(100, 256, (4, 5, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(blotches, (80, 60)))
    return path


def test_a_drawn_picture_is_its_colours_over_its_ground(ground: Path) -> None:
    drawn = draw(320, 3, ground)
    assert drawn.rgb_u8.shape == (240, 320, 3)
    inside = drawn.alpha == 1
    assert 0.1 < inside.mean() < 0.6
    assert np.abs(drawn.rgb_u8[inside] - drawn.colours[inside]).mean() < 5  # the camera's noise
    soft = (drawn.alpha > 0.1) & (drawn.alpha < 0.9)
    assert soft.mean() > 0.02


def test_the_same_seed_draws_the_same_picture(ground: Path) -> None:
    assert np.array_equal(draw(160, 3, ground).rgb_u8, draw(160, 3, ground).rgb_u8)
    assert not np.array_equal(draw(160, 3, ground).rgb_u8, draw(160, 4, ground).rgb_u8)


def test_a_ground_that_is_no_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.jpg is no picture"):
        draw(160, 3, tmp_path / "gone.jpg")


def test_every_setting_has_a_row_and_refinement_wins_on_hair(ground: Path) -> None:
    runs = [
        SimpleNamespace(label=f"matte-s, {words}", options=read_settings(words, "matte-s"))
        for words in SETTINGS
    ]
    measured = list(measure_hair(runs, 640, 3, ground))  # type: ignore[arg-type]
    errors = {one.run.split(", ")[1]: one.scores["edge_mae"] for one in measured}
    off, fast, best = (errors[f"refine={name},decontaminate=1"] for name in ("off", "fast", "best"))
    assert best < fast < off, errors
    assert table(measured, HAIR).count("\n") == 1 + len(SETTINGS)
    text = page({640: measured}, {"model": "matte-s"})
    assert "## 640 px: drawn hair (1)" in text
