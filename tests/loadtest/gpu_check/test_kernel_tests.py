"""The kernels' tests as `make gpu-check` runs them, a row for each file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from loadtest.gpu_check import kernel_tests, sections
from loadtest.gpu_check.rows import Verdict
from tests.loadtest.gpu_check.emulated import needs_gcc

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.kernels.cuda.test_blur" name="test_one"/>
<testcase classname="tests.kernels.cuda.test_blur" name="test_two">
  <failure message="off by one">long</failure></testcase>
<testcase classname="tests.kernels.cuda.test_levels" name="test_three"/>
<testcase classname="tests.kernels.cuda.test_late"><skipped message="needs g++"/></testcase>
</testsuite></testsuites>"""


def test_a_report_of_tests_becomes_a_row_per_file():
    found = {row.name: row for row in kernel_tests.read_report(JUNIT)}
    assert found["test_blur"].verdict is Verdict.FAILED
    assert found["test_blur"].figure == "1 of 2"
    assert "test_two: off by one" in found["test_blur"].note
    assert found["test_levels"].verdict is Verdict.PASSED
    assert (found["test_late"].verdict, found["test_late"].note) == (Verdict.SKIPPED, "needs g++")


def test_no_tests_at_all_is_a_failure():
    (row,) = kernel_tests.read_report("<testsuites><testsuite/></testsuites>")
    assert row.verdict is Verdict.FAILED


@needs_gcc
def test_the_kernels_tests_run_without_the_projects_plugins(tmp_path: Path):
    file = kernel_tests.FOLDER / "test_levels.py"
    command = kernel_tests.command(tmp_path, tmp_path / "junit.xml", file)
    plain = ["-p", "no:asyncio", "-p", "no:timeout", "-k", "refuse"]
    done = subprocess.run(
        [*command, *plain], cwd=sections.ROOT, capture_output=True, text=True, check=False
    )
    (row,) = kernel_tests.read_report((tmp_path / "junit.xml").read_text(encoding="utf-8"))
    assert (row.name, row.verdict) == ("test_levels", Verdict.PASSED), done.stdout


@pytest.mark.parametrize("name", kernel_tests.NOT_OF_THE_DEVICE)
def test_what_is_left_out_of_the_kernels_tests_exists(name: str):
    assert (kernel_tests.FOLDER / name).exists()


@needs_gcc
def test_a_test_file_that_hangs_costs_its_own_row(tmp_path: Path):
    file = tmp_path / "test_hangs.py"
    file.write_text("import time\n\ndef test_it():\n    time.sleep(600)\n", encoding="utf-8")
    (row,) = kernel_tests.run_file(file, tmp_path, 1)
    assert (row.name, row.verdict) == ("test_hangs", Verdict.FAILED)
    assert row.note == "not finished within 1 s"


def test_every_test_file_of_the_device_is_run():
    names = {file.name for file in kernel_tests.files()}
    assert "test_feather.py" in names
    assert names.isdisjoint(kernel_tests.NOT_OF_THE_DEVICE)
