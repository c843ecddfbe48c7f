"""The bench of known backgrounds: its scenes are what they say, its figures and its page."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from kernels.cpu.flat_paper import find_paper
from loadtest import solved
from loadtest.drawn_pages import KINDS, page
from loadtest.drawn_screens import SCREENS, scene


@pytest.mark.parametrize("screen", SCREENS)
def test_a_scene_is_its_screen_where_nothing_stands(screen):
    one = scene(screen, 1, 192, 108)
    empty = one.picture[one.alpha == 0].astype(float).mean(axis=0)
    # Light is uneven, so its hue alone is that of the key.
    assert np.argmax(empty) == np.argmax(one.key)
    assert 0.1 < one.alpha.mean() < 0.5
    again = scene(screen, 1, 192, 108)
    assert np.array_equal(one.picture, again.picture)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_its_inks_over_its_paper(kind):
    drawn = page(kind, 1, 160)
    share = drawn.alpha[..., None]
    mixed = share * drawn.colours + (1 - share) * np.array(drawn.paper)
    assert np.abs(mixed - drawn.picture).max() <= 1
    assert (drawn.picture[0, 0] == drawn.paper).all()


def test_the_truth_itself_has_no_error():
    drawn = page("logo", 1, 160)
    alpha_u8 = np.rint(255 * drawn.alpha).astype(np.uint8)
    colours = np.rint(drawn.colours).astype(np.uint8)
    figures = solved.judged((alpha_u8, colours), drawn.alpha, drawn.colours, 1.0)
    assert figures.mae < 0.002
    assert figures.colour < 2


@pytest.mark.parametrize("screen", SCREENS)
def test_keying_halves_the_error_of_the_plain_way_with_glass_and_shadow(screen):
    one = scene(screen, 2, 1200, 675)
    best = solved._best_threshold([one])
    plain, ours = (
        solved.judged(cut, one.alpha, one.colours, 0)
        for cut in (solved.hsv(one.picture, one.key, *best), solved.keyed(one.picture))
    )
    assert ours.mae < 0.75 * plain.mae
    assert ours.gradient < 0.6 * plain.gradient
    assert ours.colour < plain.colour


def test_the_table_has_a_row_for_each_way_and_times_of_the_first():
    figures = solved.Figures(0.1, 0.2, 3.0, 4.0, 10.0)
    text = solved.table({"green": {"plain": [figures], "ours": [figures._replace(ms=25.0)]}})
    assert "green: plain" in text
    assert "2.50" in text.splitlines()[-1]


def test_no_photo_of_the_validation_set_is_taken_for_a_drawing():
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not (folder / "manifest.csv").is_file():
        pytest.skip("the photos lie in ../shared/data, which is not there")
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    photos = [folder / row["file"] for row in rows if not row["kind"].startswith("cutout")]
    taken = []
    for path in photos:
        bgr = cv2.imread(str(path))
        assert bgr is not None, path
        if find_paper(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)) is not None:
            taken.append(path.name)
    assert len(photos) > 400
    assert taken == []
