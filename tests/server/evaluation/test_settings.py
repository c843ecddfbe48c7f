"""Options in words: every name of the contract, and a sentence for every mistake."""

from __future__ import annotations

import pytest

from server.evaluation.settings import names, read_settings
from server.job import Format, Output
from server.option_rules import InvalidOption


def test_defaults_ask_for_a_cutout_in_raw_pixels():
    options = read_settings("defaults", "tiny")
    assert (options.model, options.output, options.format) == ("tiny", Output.CUTOUT, Format.RAW)
    assert read_settings("", "tiny") == options


def test_a_name_means_the_same_with_and_without_its_message():
    short = read_settings("refine=off, feather_px=0", "tiny")
    assert short == read_settings("edges.refine=OFF,edges.feather_px=0.0", "tiny")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("refien=off", "did you mean refine"),
        ("refine", "write name=value"),
        ("refine=quick", "one of off, fast, best"),
        ("feather_px=much", "must be a number"),
        ("feather_px=1000", "from 0 to 100"),
        ("remove_specks_px=-1", "out of range"),
        ("output=alpha", "there is no setting 'output'"),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(words, sentence):
    with pytest.raises(InvalidOption, match=sentence):
        read_settings(words, "tiny")


def test_every_plain_option_of_edges_foreground_and_subject_has_a_name():
    assert {"edges.refine", "foreground.decontaminate", "subject.choice"} <= set(names())
    assert "subject.points" not in names()
