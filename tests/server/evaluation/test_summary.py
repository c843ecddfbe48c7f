"""Means, rates and correlations over measurements made by hand; panels whose colours are known."""

from __future__ import annotations

import numpy as np

from server.evaluation import panels
from server.evaluation.report import shown, winners
from server.evaluation.runs import Measured
from server.evaluation.sheets import Sheets
from server.evaluation.summary import ALL, group_rows, run_rows


def one(name: str, **more: object) -> Measured:
    mae = float(more.pop("mae", 0.1))
    fields = {
        "run": "r",
        "group": "g",
        "is_empty": False,
        "width": 4,
        "height": 3,
        "scores": {"mae": mae, "iou": 1 - mae},
        "uncertainty": mae,
        "coverage": 0.5,
        "no_subject": False,
        "treatment": "refine off, decontaminate 0",
        "stages_ms": {"decode": 1.0, "prepare": 2.0, "infer": 3.0, "finish": 4.0},
    }
    return Measured(name=name, **(fields | more))


def test_a_group_has_its_mean_and_several_have_one_together():
    measured = [one("a", mae=0.1), one("b", mae=0.3), one("c", mae=0.8, group="h")]
    rows = {row.group: row for row in group_rows(measured)}
    assert rows["g"].images == 2
    assert rows["g"].scores["mae"] == np.float64(0.2)
    assert np.isclose(rows[ALL].scores["mae"], 0.4)
    assert "fringe" not in rows["g"].scores


def test_empty_pictures_count_for_false_alarms_and_not_for_quality():
    empty = [
        one("x", is_empty=True, no_subject=True, group="no subject"),
        one("y", is_empty=True, group="no subject"),
    ]
    subjects = [one("a", mae=0.1), one("b", mae=0.2, no_subject=True), one("c", mae=0.3)]
    (row,) = run_rows([*empty, *subjects])
    assert (row.empty_found, row.missed) == (0.5, 1 / 3)
    assert np.isclose(row.uncertainty_mae or 0, 1)
    assert row.stages_ms["total"] == 10
    assert ALL not in {row.group for row in group_rows([*empty, *subjects])}


def test_the_best_of_a_group_is_the_highest_iou_and_the_lowest_error():
    rows = group_rows([one("a", mae=0.1), one("a", mae=0.4, run="s")])
    assert winners(rows, "g") == {"iou": "0.900", "mae": "0.100"}
    assert winners(group_rows([one("a"), one("a", run="s")]), "g") == {}
    assert shown("mae", None) == "-"


def test_the_difference_is_red_for_too_much_and_blue_for_too_little():
    alpha = np.array([[1.0, 0.0, 0.5]], np.float32)
    truth = np.array([[0.0, 1.0, 0.5]], np.float32)
    colours = panels.difference(alpha, truth)[0].tolist()
    assert colours == [[255, 0, 0], [0, 0, 255], [255, 255, 255]]


def test_sheets_keep_the_worst_first_and_draw_only_what_they_keep(tmp_path):
    drawn: list[str] = []

    def strip(name: str) -> np.ndarray:
        drawn.append(name)
        return np.zeros((5, panels.row_width(), 3), np.uint8)

    sheets = Sheets(worst=2, best=1)
    for name, mae in (("a", 0.2), ("b", 0.9), ("c", 0.5), ("d", 0.4), ("e", 0.1)):
        sheets.add(one(name, mae=mae), lambda name=name: strip(name))
    assert drawn == ["a", "b", "c", "e"]  # d is neither among the two worst nor the best
    ends = sheets._ends["r", "g"]
    assert [kept.measured.name for kept in ends.worst] == ["b", "c"]
    assert [sheet.end for sheet in sheets.write(tmp_path)] == ["worst", "best"]
    assert len(list(tmp_path.glob("*.jpg"))) == 2
