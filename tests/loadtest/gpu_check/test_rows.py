"""The table that `make gpu-check` prints, and the file that it leaves."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import pytest

from loadtest.gpu_check import rows
from loadtest.gpu_check.rows import Row, Verdict


def some_rows() -> list[Row]:
    return [
        Row("flow", "copies", Verdict.PASSED, "1 in, 1 out", data={"in": 1}),
        Row("latency", "tensorrt", Verdict.SKIPPED, note="TensorRT is not installed " * 6),
        Row("bandwidth", "blur [4K]", Verdict.BELOW, "61% of a copy"),
    ]


def test_rows_survive_the_way_between_processes():
    assert rows.from_lines(rows.to_lines(some_rows())) == some_rows()


def test_a_line_that_was_cut_off_costs_itself_alone():
    assert rows.from_lines(rows.to_lines(some_rows())[:-30]) == some_rows()[:2]


def test_the_table_has_every_row_and_wraps_notes():
    lines = rows.plain_table(some_rows()).splitlines()
    assert lines[0].split("  ")[0] == "flow"
    assert len(lines) > 3
    assert max(map(len, lines)) < 150
    assert "blur [4K]" in lines[-1]


@pytest.mark.parametrize("has_rich", [True, False])
def test_the_table_is_printed_with_and_without_rich(has_rich, monkeypatch, capsys):
    if not has_rich:
        real = builtins.__import__

        def without(name, *rest, **more):
            if name.startswith("rich"):
                raise ImportError(name)
            return real(name, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", without)
    rows.print_table(some_rows())
    printed = capsys.readouterr().out
    for word in ("copies", "blur [4K]", "61% of a copy", "below aim"):
        assert word in printed


def test_the_file_of_a_day_is_never_written_over(tmp_path: Path):
    paths = [rows.write_json(some_rows(), {"commit": "abc"}, tmp_path, today="2026-01-02")]
    paths.append(rows.write_json([], {}, tmp_path, today="2026-01-02"))
    assert [path.name for path in paths] == ["gpu-2026-01-02.json", "gpu-2026-01-02-2.json"]
    content = json.loads(paths[0].read_text(encoding="utf-8"))
    assert content["facts"] == {"commit": "abc"}
    assert content["summary"] == "1 passed, 1 not run, 1 below aim"
    assert content["rows"][0]["data"] == {"in": 1}


def test_only_failures_fail_the_whole():
    assert not rows.any_failed(some_rows())
    assert rows.any_failed([*some_rows(), Row("a", "b", Verdict.FAILED)])
