"""Small pieces go, small holes close, and the rest of an alpha stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import cpu


def subject_with(*marks: tuple[slice, slice, int]) -> np.ndarray:
    """A subject of 40 x 40 in 80 x 100, with more put on it: rows, columns, alpha."""
    alpha = np.zeros((80, 100), np.uint8)
    alpha[20:60, 10:50] = 255
    for rows, columns, level in marks:
        alpha[rows, columns] = level
    return alpha


SPECK = (slice(30, 33), slice(80, 84), 255)  # 12 pixels
HOLE = (slice(30, 33), slice(20, 24), 0)


def test_a_piece_smaller_than_the_area_goes_and_the_subject_stays() -> None:
    assert np.array_equal(cpu.remove_specks(subject_with(SPECK), 13), subject_with())


def test_a_piece_of_the_area_itself_stays() -> None:
    assert np.array_equal(cpu.remove_specks(subject_with(SPECK), 12), subject_with(SPECK))


def test_the_soft_rim_goes_with_its_speck_and_the_subjects_rim_stays() -> None:
    rim = (slice(28, 35), slice(78, 86), 90)
    subjects_rim = (slice(20, 60), slice(50, 53), 90)
    seen = cpu.remove_specks(subject_with(rim, SPECK, subjects_rim), 20)
    assert np.array_equal(seen, subject_with(subjects_rim))


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    alpha = np.zeros((20, 20), np.uint8)
    alpha[2:4, 2:4] = alpha[4:6, 4:6] = 255
    assert np.array_equal(cpu.remove_specks(alpha, 8), alpha)
    assert not cpu.remove_specks(alpha, 9).any()


def test_a_subject_smaller_than_the_area_goes_too() -> None:
    assert not cpu.remove_specks(subject_with(), 1601).any()


def test_an_alpha_that_reaches_one_half_nowhere_has_no_pieces() -> None:
    faint = np.full((20, 30), 100, np.uint8)
    assert np.array_equal(cpu.remove_specks(faint, 10_000), faint)


def test_a_hole_smaller_than_the_area_is_filled() -> None:
    assert np.array_equal(cpu.fill_holes(subject_with(HOLE), 13), subject_with())
    assert np.array_equal(cpu.fill_holes(subject_with(HOLE), 12), subject_with(HOLE))


def test_a_small_piece_of_background_at_the_pictures_edge_is_no_hole() -> None:
    alpha = np.full((30, 30), 255, np.uint8)
    alpha[0:3, 10:13] = 0
    assert np.array_equal(cpu.fill_holes(alpha, 100), alpha)


@pytest.mark.parametrize("area", [0, 1])
def test_an_area_that_nothing_is_smaller_than_changes_nothing(area: int) -> None:
    alpha = subject_with(SPECK, HOLE)
    assert np.array_equal(cpu.remove_specks(alpha, area), alpha)
    assert np.array_equal(cpu.fill_holes(alpha, area), alpha)
