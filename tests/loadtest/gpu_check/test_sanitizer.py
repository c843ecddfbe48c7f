"""What compute-sanitizer says becomes rows of `make gpu-check`."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.gpu_check import sanitizer
from loadtest.gpu_check.rows import Verdict

CLEAN = "102 launches done\n========= ERROR SUMMARY: 0 errors\n"
FOUND = (
    "========= Invalid __global__ write of size 4 bytes\n102 launches done\n"
    "========= ERROR SUMMARY: 2 errors\n"
)
RACE = "102 launches done\n========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)\n"


@pytest.mark.parametrize(
    ("tool", "code", "output", "verdict", "figure"),
    [
        ("memcheck", 0, CLEAN, Verdict.PASSED, "0 errors in 102 launches"),
        ("memcheck", 86, FOUND, Verdict.FAILED, "2 errors in 102 launches"),
        ("racecheck", 86, RACE, Verdict.FAILED, "1 errors in 102 launches"),
        ("memcheck", 1, "========= Error: Device not supported", Verdict.SKIPPED, ""),
        ("memcheck", 1, "Traceback ... ImportError", Verdict.FAILED, ""),
        ("memcheck", 0, "========= ERROR SUMMARY: 0 errors\n", Verdict.FAILED, ""),
    ],
    ids=["clean", "invalid write", "race", "refused", "crashed", "nothing launched"],
)
def test_what_the_sanitizer_says_becomes_a_row(tool, code, output, verdict, figure):
    row = sanitizer.read_output(tool, code, output)
    assert (row.verdict, row.figure) == (verdict, figure)


def test_without_the_sanitizer_the_rows_say_what_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sanitizer, "PLACES", ())
    found = list(sanitizer.rows(lambda name: None))
    assert [row.verdict for row in found] == [Verdict.SKIPPED] * len(sanitizer.RUNS)
    assert "CUDA toolkit" in found[0].note


def test_a_sanitizer_that_hangs_is_ended_and_the_rest_not_begun(tmp_path: Path, monkeypatch):
    program = tmp_path / "compute-sanitizer"
    program.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    program.chmod(0o755)
    runs = tuple((tool, module, 0.5) for tool, module, _ in sanitizer.RUNS)
    monkeypatch.setattr(sanitizer, "RUNS", runs)
    first, *others = sanitizer.rows(lambda name: str(program))
    assert (first.verdict, first.note) == (Verdict.FAILED, "not finished within 0.5 s")
    assert {row.verdict for row in others} == {Verdict.SKIPPED}
    assert "because memcheck of the kernels did not finish" in others[0].note
