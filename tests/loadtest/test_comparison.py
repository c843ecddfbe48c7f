"""The page of a side-by-side run, from made-up cells."""

from __future__ import annotations

import json

import pytest

from loadtest.answers import Difference
from loadtest.comparison import OURS, THEIRS, Cell, Comparison, page


def cell(server: str, callers: int, turn: int, requests_per_s: float, **changes: object) -> Cell:
    values: dict[str, object] = {
        "requests": 40,
        "errors": [],
        "seconds": 2.0,
        "p50_ms": 1000 / requests_per_s,
        "p95_ms": 2000 / requests_per_s,
        "p99_ms": 2500 / requests_per_s,
        "cpu_ms": 500 / requests_per_s,
        "caller_cpu_ms": 3.0,
        "peak_rss_mb": 300.0,
        "answer_kb": 1100.0,
        "others_cores": 0.05,
        **changes,
    }
    return Cell(server=server, callers=callers, turn=turn, requests_per_s=requests_per_s, **values)  # type: ignore[arg-type]


def comparison(*cells: Cell) -> Comparison:
    return Comparison(
        facts={"cpu": "a CPU"},
        network="net",
        photos="4 photos",
        their_threads=None,
        cells=cells,
        differences={"a.jpg": Difference(0.5, 0.01, 0.998)},
        brightest={"a.jpg": 201},
        engine_per_s=[120.0, 118.0],
    )


def test_ratios_are_taken_within_a_round() -> None:
    run = comparison(
        cell(OURS, 1, 0, 50), cell(THEIRS, 1, 0, 10),
        cell(THEIRS, 1, 1, 5), cell(OURS, 1, 1, 25),  # a slow minute, the other way round
    )  # fmt: skip
    assert run.ratio(lambda one: one.requests_per_s, 1) == 5


def test_the_page_shows_a_row_of_ratios_for_each_number_of_callers() -> None:
    text = page(
        comparison(
            cell(OURS, 1, 0, 50), cell(THEIRS, 1, 0, 10),
            cell(OURS, 16, 0, 60), cell(THEIRS, 16, 0, 8),
        )
    )  # fmt: skip
    assert "| 1       |  5.00 |" in text
    assert "| 16      |  7.50 |" in text
    assert "a CPU" in text
    assert "a.jpg" in text
    assert "201" in text
    assert "not quiet" not in text


def test_failed_requests_are_told_before_any_table() -> None:
    run = comparison(cell(OURS, 1, 0, 50), cell(THEIRS, 1, 0, 10, errors=["a.jpg: ReadTimeout"]))
    text = page(run)
    assert run.failed == 1
    assert text.index("1 requests failed") < text.index("## Ratios")
    assert "1 x rembg, 1 callers: a.jpg: ReadTimeout" in text


def test_a_busy_machine_is_told() -> None:
    busy = comparison(
        cell(OURS, 1, 0, 50, others_cores=0.9), cell(THEIRS, 1, 0, 10, others_cores=0.8)
    )
    assert "The machine was not quiet" in page(busy)


def test_the_figures_are_json_with_ratios() -> None:
    run = comparison(cell(OURS, 4, 0, 50), cell(THEIRS, 4, 0, 10))
    figures = json.loads(json.dumps(run.figures()))
    assert figures["ratios"]["4"]["req/s"] == pytest.approx(5)
    assert figures["cells"][0]["server"] == OURS
