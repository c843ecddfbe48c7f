"""Tables, facts and files of a report."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from loadtest import report


def test_a_table_lines_its_columns_up() -> None:
    table = report.markdown_table(["callers", "req/s"], [["1", "9.5"], ["16", "110.25"]])
    assert table.splitlines() == [
        "| callers |  req/s |",
        "|---------|-------:|",
        "| 1       |    9.5 |",
        "| 16      | 110.25 |",
    ]


def test_a_row_with_a_missing_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells, the table 2 columns"):
        report.markdown_table(["a", "b"], [["1"]])


def test_a_shown_command_holds_no_absolute_path() -> None:
    shown = report.shown_command("soak", ["--model-dir", "/home/someone/models", "--seed", "3"])
    assert shown == "python -m loadtest.soak --model-dir .../models --seed 3"


def test_machine_facts_name_the_machine_but_not_its_host_name() -> None:
    facts = report.machine_facts()
    assert {"cpu", "cores", "memory", "kernel"} <= set(facts)
    assert socket.gethostname() not in " ".join(facts.values()).split()


def test_versions_of_another_interpreter_are_read_from_there() -> None:
    here = report.versions(["numpy", "no-such-package"])
    there = report.versions(["numpy", "no-such-package"], Path(sys.executable))
    assert here == there
    assert there["no-such-package"] == "absent"


def test_results_are_written_as_json_and_as_text(tmp_path: Path) -> None:
    as_json, as_text = report.write_results("soak", {"done": 3}, "# Page", tmp_path / "results")
    assert json.loads(as_json.read_text()) == {"done": 3}
    assert as_text.read_text() == "# Page\n"
    assert as_json.name[10:] == "-soak.json"


def test_a_second_run_of_the_day_keeps_the_first(tmp_path: Path) -> None:
    first, _ = report.write_results("soak", {}, "", tmp_path)
    second, _ = report.write_results("soak", {}, "", tmp_path)
    assert first.exists()
    assert second.stem == first.stem + "-2"
