"""The parts of `make gpu-check`: processes of their own, within their time; and the command."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.gpu_check import __main__ as command_line
from loadtest.gpu_check import sanitizer, sections
from loadtest.gpu_check.rows import Row, Verdict
from loadtest.gpu_check.sections import SECTIONS, Section


def kept_rows(section: Section) -> list[Row]:
    kept: list[Row] = []
    sections.run_here(section, kept.append)
    return kept


def test_a_section_without_what_it_needs_is_skipped_with_its_name():
    (row,) = kept_rows(Section("flow", "flow", 1, ("no_such_module",)))
    assert row.verdict is Verdict.SKIPPED
    assert "needs no_such_module" in row.note


def test_an_exception_in_a_section_is_a_row_and_rows_before_it_stay(monkeypatch):
    def breaks():
        yield Row("sanitizer", "first", Verdict.PASSED)
        raise ValueError("half way")

    monkeypatch.setattr(sanitizer, "rows", breaks)
    first, second = kept_rows(Section("sanitizer", "sanitizer", 1, ()))
    assert first.name == "first"
    assert second.verdict is Verdict.FAILED
    assert "ValueError: half way (test_sections.py:" in second.note


def test_a_section_runs_in_a_process_of_its_own(tmp_path: Path):
    found = sections.run_in_child(Section("sharing", "sharing", 60), 60, tmp_path)
    # Without a GPU the device is refused; the refusal is the row, not a crash of this process.
    assert len(found) >= 1
    assert all(row.section == "sharing" for row in found)


def shell(script: str):
    """In the place of `sections.command`: a process that is a script."""
    return lambda section, kept: ["sh", "-c", script.format(kept=kept)]


@pytest.mark.parametrize("ending", ["exec sleep 600", "exit 0"], ids=["hangs", "ends before it"])
def test_what_a_section_started_ends_with_it(ending: str, tmp_path: Path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        # The shell opens the pipe itself, so that it is open before the section ends.
        script = f"exec 3>{pipe}; (echo started >&3; exec sleep 600) & {ending}"
        monkeypatch.setattr(sections, "command", shell(script))
        (row,) = sections.run_in_child(SECTIONS[0], 2, tmp_path)
        assert row.verdict is Verdict.FAILED
        if ending != "exit 0":
            assert "not finished within 2 s" in row.note
        # The last holder of its other end is gone: the pipe ends instead of staying open.
        while True:
            ready, _, _ = select.select([reading], [], [], 20)
            assert ready, "the grandchild still runs"
            if not os.read(reading, 100):
                break
    finally:
        os.close(reading)


def test_a_process_that_dies_leaves_the_rows_it_had(tmp_path: Path, monkeypatch):
    had = tmp_path / "had.jsonl"
    sections.append_to(had)(Row("flow", "graph", Verdict.PASSED))
    script = f"cp {had} {{kept}}; echo CUDA error 700 >&2; kill -SEGV $$"
    monkeypatch.setattr(sections, "command", shell(script))
    first, second = sections.run_in_child(SECTIONS[0], 20, tmp_path)
    assert first.name == "graph"
    assert "ended with -11: CUDA error 700" in second.note


def test_the_sections_fit_the_eight_minutes():
    assert sections.BUDGET_S < 8 * 60
    first = [section.budget_s for section in SECTIONS[:-1]]
    assert sum(first) < sections.BUDGET_S  # so that the last one can begin whatever happens


def test_what_is_left_of_the_time_is_what_a_section_gets(tmp_path: Path):
    now = [0.0]
    given = []

    def run(section: Section, timeout_s: float, folder: Path) -> list[Row]:
        given.append(timeout_s)
        now[0] += timeout_s
        return [Row(section.name, "all", Verdict.PASSED)]

    chosen = [Section(name, "flow", 40) for name in "abc"]
    found = sections.run_all(chosen, tmp_path, budget_s=60, clock=lambda: now[0], run=run)
    assert given == [40, 20]
    assert [row.verdict for row in found] == [Verdict.PASSED, Verdict.PASSED, Verdict.FAILED]
    assert "used up before it" in found[-1].note


def test_without_a_gpu_the_command_says_so_and_writes_nothing(tmp_path: Path, monkeypatch, capsys):
    facts = {"gpus": [], "driver": "no NVIDIA GPU can be used"}
    monkeypatch.setattr(command_line, "machine", lambda: facts)
    assert command_line.main(["--out", str(tmp_path)]) == 2
    assert "nothing was checked" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.PASSED, 0), (Verdict.FAILED, 1)])
def test_the_command_writes_machine_commit_and_command(
    verdict, code, tmp_path: Path, monkeypatch, capsys
):
    facts = {"gpus": ["NVIDIA H200"], "driver": "CUDA 13.0", "commit": "abc"}
    monkeypatch.setattr(command_line, "machine", lambda: dict(facts))
    monkeypatch.setattr(
        command_line, "run_all", lambda chosen, folder: [Row("flow", "copies", verdict)]
    )
    assert command_line.main(["--out", str(tmp_path), "--only", "flow"]) == code
    (path,) = tmp_path.glob("gpu-*.json")
    told = json.loads(path.read_text(encoding="utf-8"))["facts"]
    assert told["commit"] == "abc"
    assert told["command"] == "python -m loadtest.gpu_check --only flow"
    assert "copies" in capsys.readouterr().out


def test_the_commit_can_be_told_where_there_is_no_git(monkeypatch):
    monkeypatch.setenv("MATTESTREAM_COMMIT", "1234abcd")
    assert command_line.commit() == "1234abcd"


def test_nothing_beyond_the_promised_libraries_is_needed_to_begin():
    """Only what the machine has: the rest must not be imported on the way to the first section."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"grpc", "google", "simplejpeg", "isal", "structlog", "rich",
                                      "prometheus_client", "psutil", "click", "onnxruntime"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from loadtest.gpu_check import __main__, bandwidth, flow, kernel_tests, latency, sanitizer, sharing
from loadtest.gpu_check import cases
assert "simplejpeg is not installed" in flow.JPEG_NOTE
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=sections.ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
