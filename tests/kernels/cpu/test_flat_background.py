"""Drawings cut out of their paper, against what they were drawn with."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu.flat_background import flat_background
from kernels.cpu.flat_paper import Paper, find_paper
from loadtest.drawn_pages import KINDS, Canvas, page

SIDE = 400
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (200, 30, 40)
NEW = np.array((30.0, 90.0, 200.0))  # a background nothing was drawn on


def on_new(alpha, colours):
    return alpha[..., None] * colours + (1 - alpha[..., None]) * NEW


def errors(drawn):
    """Mean error of the alpha, and of the colours on a new background along edges, in levels."""
    paper = find_paper(drawn.picture, forced=True)
    assert paper is not None
    cut = flat_background(drawn.picture, paper)
    alpha = cut.alpha / 255
    edge = (drawn.alpha > 0) & (drawn.alpha < 1)
    wrong = np.abs(on_new(alpha, cut.colours) - on_new(drawn.alpha, drawn.colours))
    return np.abs(alpha - drawn.alpha).mean(), wrong[edge].mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("jpeg", "alpha_off", "levels_off"), [(None, 0.006, 12), (90, 0.012, 16)])
def test_alpha_and_colours_are_those_it_was_drawn_with(kind, jpeg, alpha_off, levels_off):
    found = [errors(page(kind, seed, SIDE, jpeg=jpeg)) for seed in (1, 2, 3)]
    mean_alpha, mean_levels = np.mean(found, axis=0)
    assert mean_alpha < alpha_off
    assert mean_levels < levels_off


def cut_out(canvas, paper=WHITE, enclosed="auto"):
    drawn = canvas.page("test", paper, None)
    return flat_background(drawn.picture, Paper(paper, 2), enclosed)


def ring(ink=BLACK, fill=None):
    canvas = Canvas(60, 60)
    canvas.ellipse((10, 10, 50, 50), fill, ink, 5)
    return canvas


def test_paper_in_a_ring_of_one_ink_is_transparent():
    assert cut_out(ring()).alpha[30, 30] == 0
    assert cut_out(ring()).alpha[30, 12] == 255


def test_paper_within_several_inks_is_kept_and_so_is_what_lies_in_it():
    canvas = ring(fill=WHITE)
    canvas.box((5, 44, 55, 58), RED)
    canvas.ellipse((24, 24, 36, 36), None, BLACK, 3)  # a ring of one ink in the kept paper
    alpha = cut_out(canvas).alpha
    assert alpha[20, 30] == 255
    assert alpha[30, 30] == 255
    assert alpha[2, 2] == 0


def test_the_caller_decides_over_enclosed_paper():
    assert cut_out(ring(), enclosed="keep").alpha[30, 30] == 255
    canvas = ring(fill=WHITE)
    canvas.box((5, 44, 55, 58), RED)
    assert cut_out(canvas, enclosed="remove").alpha[30, 30] == 0


def test_a_line_thinner_than_a_pixel_is_as_transparent_as_it_is_thin_and_has_the_inks_colour():
    canvas = Canvas(80, 60)
    canvas.box((10, 10, 70, 20), RED)
    canvas.line(np.array([(10, 30), (70, 48)]), RED, 0.5)
    drawn, cut = canvas.page("test", WHITE, None), cut_out(canvas)
    line = np.s_[25:55, 15:65]
    assert np.abs(cut.alpha / 255 - drawn.alpha)[line].max() < 0.1
    seen = cut.alpha[line] > 0
    assert np.abs(cut.colours[line][seen].astype(int) - RED).max() < 8


def test_two_inks_that_meet_stay_opaque():
    canvas = Canvas(60, 60)
    canvas.ellipse((5, 5, 55, 55), (60, 120, 190), BLACK, 3)
    alpha = cut_out(canvas).alpha
    assert (alpha[30, 12:48] == 255).all()


def test_light_ink_on_dark_paper_is_the_same_work():
    drawn = Canvas(80, 40)
    drawn.text(6, 8, "flat", WHITE, 20)
    made = drawn.page("test", (20, 20, 24), None)
    cut = flat_background(made.picture, Paper((20, 20, 24), 2))
    assert np.abs(cut.alpha / 255 - made.alpha).mean() < 0.01


def test_blank_paper_is_all_transparent():
    assert not flat_background(np.full((9, 9, 3), 255, np.uint8), Paper(WHITE, 2)).alpha.any()


def test_a_picture_without_paper_is_all_there():
    assert (flat_background(np.zeros((9, 9, 3), np.uint8), Paper(WHITE, 2)).alpha == 255).all()
