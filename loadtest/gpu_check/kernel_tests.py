"""The kernels' own tests, run on the device: every kernel beside its NumPy twin.

The tests are those of CI; there the same launchers run the same `.cu` files on the CPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from loadtest.gpu_check.rows import Row, Verdict
from loadtest.gpu_check.sections import ROOT

SECTION = "kernels"
FILE_S = 40.0  # that one test file may take
FOLDER = ROOT / "tests" / "kernels" / "cuda"
# What these look at is the emulated device itself, an emulated driver, or the compiler.
NOT_OF_THE_DEVICE = (
    "test_cupy_device.py",
    "test_documentation.py",
    "test_emulated_device.py",
    "test_nvrtc.py",
    "test_parameters.py",
    "test_sanitizers.py",
    "test_shim.py",
)
# The project's own settings ask for plugins that the machine need not have.
SETTINGS = "[pytest]\naddopts = --import-mode=importlib\npythonpath = {root}\nmarkers = slow\n"


def rows() -> Iterator[Row]:
    """One row per test file, each run by itself: one that hangs or loses the device costs its own
    row, and rows are kept as they come.
    """
    with tempfile.TemporaryDirectory(prefix="mattestream-kernels-") as folder:
        for file in files():
            yield from run_file(file, Path(folder), FILE_S, MATTESTREAM_TEST_DEVICE="cuda")


def files() -> list[Path]:
    """The test files that look at the device."""
    return [file for file in sorted(FOLDER.glob("test_*.py")) if file.name not in NOT_OF_THE_DEVICE]


def run_file(file: Path, folder: Path, timeout_s: float, **settings: str) -> Iterator[Row]:
    """Rows of one test file.

    Args:
        file: which.
        folder: where it may write.
        timeout_s: after which it is ended.
        settings: environment variables.
    """
    report = folder / f"{file.stem}.xml"
    try:
        done = subprocess.run(
            command(folder, report, file),
            cwd=ROOT,
            env={**os.environ, **settings},
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        note = f"not finished within {timeout_s:g} s"
        yield Row(SECTION, file.stem, Verdict.FAILED, note=note)
        return
    if not report.exists():
        last = " ".join((done.stdout + done.stderr).split())[-400:]
        yield Row(SECTION, file.stem, Verdict.FAILED, note=f"it wrote no report: {last}")
        return
    yield from read_report(report.read_text(encoding="utf-8"))


def command(folder: Path, report: Path, tests: Path) -> list[str]:
    """How pytest is called; its settings are written into `folder`."""
    settings = folder / "pytest.ini"
    settings.write_text(SETTINGS.format(root=ROOT), encoding="utf-8")
    return [
        *(sys.executable, "-m", "pytest", str(tests), "-q", "-c", str(settings)),
        *(f"--rootdir={ROOT}", f"--confcutdir={FOLDER}", f"--junitxml={report}"),
        *("-p", "no:cacheprovider"),
    ]


def read_report(text: str) -> Iterator[Row]:
    """A row per test file of a JUnit report, and one for tests that could not be collected."""
    files: dict[str, list[ET.Element]] = {}
    for case in ET.fromstring(text).iter("testcase"):
        name = (case.get("classname") or case.get("name") or "?").rsplit(".", 1)[-1]
        files.setdefault(name, []).append(case)
    if not files:
        yield Row(SECTION, "pytest", Verdict.FAILED, note="it found no tests")
    for name, cases in sorted(files.items()):
        bad = [case for case in cases if case.find("failure") is not None or _error(case)]
        not_run = [case for case in cases if case.find("skipped") is not None]
        figure = f"{len(cases) - len(bad) - len(not_run)} of {len(cases)}"
        data = {"tests": len(cases), "failed": len(bad), "skipped": len(not_run)}
        if bad:
            verdict, note = Verdict.FAILED, f"{bad[0].get('name')}: {_words(bad[0])}"
        elif len(not_run) == len(cases):
            verdict, note = Verdict.SKIPPED, _words(not_run[0])
        else:
            verdict, note = Verdict.PASSED, ""
        yield Row(SECTION, name, verdict, figure, note, data)


def _error(case: ET.Element) -> bool:
    return case.find("error") is not None


def _words(case: ET.Element) -> str:
    """The message of what happened to the test, on one line."""
    for kind in ("failure", "error", "skipped"):
        told = case.find(kind)
        if told is not None:
            return " ".join((told.get("message") or told.text or "").split())[:300]
    return ""
