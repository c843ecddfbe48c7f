"""The evaluation goes the server's own way, and its tables say what was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.registry import Registry
from models.training.data import Pool
from models.training.evaluate import (
    EMPTY_SCORES,
    PHOTO_SCORES,
    Answer,
    Case,
    answer,
    close_ups,
    composites,
    empties,
    photos,
    table,
    trust_table,
)


@pytest.fixture(scope="module")
def model():
    """The built-in model."""
    loaded = Registry().load("matte-s")
    yield loaded
    loaded.close()


def test_a_bright_disc_on_a_dark_ground_is_found_by_the_built_in_model(model, disc) -> None:
    truth = np.kron(disc(50, 14), np.ones((4, 4), np.float32))
    rgb = np.full((200, 200, 3), (40, 60, 90), np.uint8)
    rgb[truth > 0.5] = (230, 120, 40)
    found = answer(model, Case("thing", rgb, truth, PHOTO_SCORES))
    assert found.scores["IoU"] > 0.8
    assert found.scores["MAE"] < 0.1
    assert 0.0 <= found.uncertainty <= 1.0


def test_cases_name_kind_source_and_whether_anyone_trained_on_it(pool: Pool, picture) -> None:
    kinds = {case.group for case in photos(pool, by_source=False)}
    assert kinds == {"object"}
    assert {case.group for case in photos(pool, by_source=True)} == {"object of ecssd"}
    outside = picture("images", "cat", True, 5)
    object.__setattr__(outside.row, "tier", "C")
    pool.photos["cat"] = [outside]
    groups = [case.group for case in photos(pool, by_source=False)]
    assert groups == ["object, sources never trained on", "object"]


def test_close_ups_are_the_upper_parts_of_people_who_stand(pool: Pool, picture) -> None:
    alpha = np.zeros((300, 200), np.uint8)
    alpha[30:270, 70:130] = 255
    photo = picture("images", "ccp", True, 1)
    person = replace(photo, row=replace(photo.row, kind="person"), alpha=alpha)
    person = replace(person, rgb=np.zeros((300, 200, 3), np.uint8))
    pool.photos["ccp"] = [person, replace(person, row=photo.row)]  # the second is a thing
    first, again = list(close_ups(pool)), list(close_ups(pool))
    assert [case.group for case in first] == ["person, close-up of one above"]
    assert np.array_equal(first[0].truth, again[0].truth)
    assert first[0].truth[-1].any()
    assert first[0].truth.shape == first[0].rgb.shape[:2]


def test_composites_are_the_same_every_time_and_empties_have_no_truth(pool: Pool) -> None:
    first, again = next(composites(pool)), next(composites(pool))
    assert np.array_equal(first.rgb, again.rgb)
    assert first.truth.max() > 0.9
    empty = next(empties(pool))
    assert empty.truth.max() == 0.0
    assert empty.scores is EMPTY_SCORES


def test_tables_have_a_column_for_each_model_and_a_mean_in_each_cell() -> None:
    good = [
        Answer("object", {"IoU": 0.9, "MAE": 0.1}, 0.1),
        Answer("object", {"IoU": 0.7, "MAE": 0.2}, 0.2),
    ]
    bad = [
        Answer("object", {"IoU": 0.4, "MAE": 0.1}, 0.9),
        Answer("object", {"IoU": 0.2, "MAE": 0.2}, 0.3),
    ]
    lines = table({"good": good, "bad": bad}).splitlines()
    assert lines[0] == "| group (pictures) | score | good | bad |"
    assert lines[2] == "| object (2) | IoU | 0.800 | 0.300 |"
    trust = trust_table({"good": good, "bad": bad}).splitlines()
    assert trust[2:] == ["| good | 1.00 | 1.00 |", "| bad | -1.00 | -1.00 |"]
