"""The page and the plots of the whole side-by-side, from made-up cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from loadtest.bench import HEADERS, Part, page
from loadtest.comparison import OURS, THEIRS
from tests.loadtest.test_comparison import cell, comparison

PART = Part(
    "net",
    "1080p",
    comparison(
        cell(OURS, 1, 0, 50), cell(THEIRS, 1, 0, 10),
        cell(OURS, 64, 0, 80), cell(THEIRS, 64, 0, 8, errors=["b.jpg: late"]),
    ),
)  # fmt: skip


def test_the_page_has_a_row_per_network_size_and_number_of_callers() -> None:
    text = page([PART])
    assert "| net, 1080p, 1 " in text
    assert "| net, 1080p, 64" in text
    rows = [[word.strip() for word in line.split("|")] for line in text.splitlines()]
    found = {row[1]: row[2:5] for row in rows if len(row) > 5}
    assert found["net, 1080p, 64"] == ["80.0", "8.0", "10.0"]
    assert "net 119.0 /s" in text


def test_each_row_says_what_everything_else_took_of_the_machine_in_its_turns() -> None:
    disturbed = replace(cell(OURS, 16, 0, 35), others_cores=0.64)
    (row,) = Part("net", "1080p", comparison(disturbed, cell(THEIRS, 16, 0, 7))).rows()
    assert row[HEADERS.index("others' cores, ours/rembg")].startswith("0.64 / ")


def test_the_plot_is_a_picture_of_the_same_figures(tmp_path: Path) -> None:
    path = PART.plot(tmp_path, "2026-01-01-bench")
    assert path.name == "2026-01-01-bench-net-1080p.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > 500
