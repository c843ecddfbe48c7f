"""Means and rates of many measurements: what the tables of the terminal, JSON and HTML show.

Called by `mattestream eval` and `server.evaluation.report`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.metrics import METRICS, rank_correlation
from server.evaluation.runs import STAGES, Measured

SCORES = (*METRICS, "fringe")
ALL = "all with a subject"


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One run's mean scores over one group; a score that no picture has is left out."""

    group: str
    run: str
    images: int
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class RunRow:
    """What one run came to over everything.

    Attributes:
        run: its label.
        images: measured.
        uncertainty_mae: Spearman's correlation of the report's uncertainty with the MAE, over the
            pictures with a subject; None where there are too few.
        uncertainty_miss: the same with 1 - IoU.
        empty_found: share of the pictures without a subject that are reported as such; None where
            there are none.
        missed: share of the pictures with a subject that are reported as having none.
        treatments: what was really done, each kind once; defaults are the server's choice.
        stages_ms: medians over all pictures, and "total", the median of the sums.
    """

    run: str
    images: int
    uncertainty_mae: float | None
    uncertainty_miss: float | None
    empty_found: float | None
    missed: float | None
    treatments: list[str]
    stages_ms: dict[str, float]


def group_rows(measured: Sequence[Measured]) -> list[GroupRow]:
    """A row for each group and run; groups in the order of their first pictures, runs too.

    Where several groups have subjects, a last group is all of them together.
    """
    groups = list(dict.fromkeys(one.group for one in measured))
    rows = [
        _group_row(group, run, [one for one in measured if one.group == group and one.run == run])
        for group in groups
        for run in run_labels(measured)
    ]
    shown = [one for one in measured if not one.is_empty]
    if len({one.group for one in shown}) > 1:
        rows += [
            _group_row(ALL, run, [one for one in shown if one.run == run])
            for run in run_labels(shown)
        ]
    return [row for row in rows if row.images]


def run_rows(measured: Sequence[Measured]) -> list[RunRow]:
    """A row for each run."""
    return [
        _run_row(run, [one for one in measured if one.run == run]) for run in run_labels(measured)
    ]


def run_labels(measured: Sequence[Measured]) -> list[str]:
    """Every run once, in order."""
    return list(dict.fromkeys(one.run for one in measured))


def _group_row(group: str, run: str, members: list[Measured]) -> GroupRow:
    held = [(name, [m.scores[name] for m in members if name in m.scores]) for name in SCORES]
    scores = {name: float(np.mean(values)) for name, values in held if values}
    return GroupRow(group, run, len(members), scores)


def _run_row(run: str, members: list[Measured]) -> RunRow:
    shown = [one for one in members if not one.is_empty]
    empty = [one for one in members if one.is_empty]
    unsure = np.array([one.uncertainty for one in shown])
    errors = np.array([one.scores["mae"] for one in shown])
    misses = np.array([1 - one.scores["iou"] for one in shown])
    stages = {name: float(np.median([m.stages_ms[name] for m in members])) for name in STAGES}
    stages["total"] = float(np.median([sum(m.stages_ms.values()) for m in members]))
    return RunRow(
        run=run,
        images=len(members),
        uncertainty_mae=rank_correlation(unsure, errors),
        uncertainty_miss=rank_correlation(unsure, misses),
        empty_found=_share(empty),
        missed=_share(shown),
        treatments=list(dict.fromkeys(one.treatment for one in members)),
        stages_ms=stages,
    )


def _share(members: list[Measured]) -> float | None:
    """Of those reported without a subject."""
    return float(np.mean([one.no_subject for one in members])) if members else None
