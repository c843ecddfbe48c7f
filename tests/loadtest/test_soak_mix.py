"""The mix of a soak: repeatable, varied, and every kind in it."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from loadtest.soak_mix import BAD, LATE, OK, SIZES, Mix


@pytest.fixture(scope="module")
def mix() -> Mix:
    return Mix(seed=3)


def test_every_kind_of_request_comes_within_a_thousand(mix: Mix) -> None:
    items = list(islice(mix, 1000))
    names = {item.name for item in items}
    assert {size.name for size in SIZES} <= names
    assert {"thin", "stream", "stream left early", "impatient caller"} <= names
    expected = Counter(item.expected for item in items)
    assert expected[OK] > 850
    assert expected[BAD] > 10
    assert {LATE, "NOT_FOUND", "UNIMPLEMENTED"} <= set(expected)


def test_big_pictures_are_rare_enough_for_ten_thousand_in_minutes() -> None:
    assert sum(size.share for size in SIZES if size.sides[1] > 1920) <= 2


def test_small_pictures_come_in_many_sizes(mix: Mix) -> None:
    images = {id(item.image) for item in islice(mix, 1000) if item.name == "small"}
    assert len(images) > 30


def test_the_same_seed_gives_the_same_mix(mix: Mix) -> None:
    first, again = (islice(iter(Mix(seed=5)), 60) for _ in range(2))
    assert [(i.name, i.options) for i in first] == [(i.name, i.options) for i in again]
