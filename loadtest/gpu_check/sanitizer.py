"""compute-sanitizer over small launches of every kernel, and over the flow: memcheck, synccheck,
racecheck.

What the CPU build cannot show: races between the warps of a block, accesses that are not aligned.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from loadtest.gpu_check.rows import Row, Verdict
from loadtest.gpu_check.sections import ROOT, skipped

SECTION = "sanitizer"
LAUNCHES, FLOW = "loadtest.gpu_check.small_launches", "loadtest.gpu_check.small_flow"
# The slowest last. The seconds are what each may take.
RUNS = (
    ("memcheck", LAUNCHES, 50.0),
    ("synccheck", LAUNCHES, 40.0),
    ("memcheck", FLOW, 40.0),
    ("racecheck", LAUNCHES, 80.0),
)
PLACES = ("/usr/local/cuda/bin/compute-sanitizer",)
FOUND_SOMETHING = 86  # the exit code that is asked for; a program's own would be taken for it
_SUMMARY = re.compile(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazards? displayed)")
_REFUSED = ("not supported", "Device not supported", "Unable to", "insufficient permission")


def rows(find: Callable[[str], str | None] = shutil.which) -> Iterator[Row]:
    """One row per run.

    One that hangs ends them all: what it watches goes on using the GPU until the section's process
    group is ended, which is when this returns.
    """
    program = find_program(find)
    hung = ""
    for tool, module, timeout_s in RUNS:
        name = f"{tool} of the {'flow' if module == FLOW else 'kernels'}"
        if program is None or hung:
            absent = "compute-sanitizer is not installed: it is in the CUDA toolkit"
            yield skipped(SECTION, name, hung or absent)
            continue
        try:
            done = subprocess.run(
                command(program, tool, module),
                cwd=ROOT,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            note = f"not finished within {timeout_s:g} s"
            yield Row(SECTION, name, Verdict.FAILED, note=note)
            hung = f"not begun, because {name} did not finish"
            continue
        yield read_output(name, done.returncode, done.stdout + done.stderr)


def find_program(find: Callable[[str], str | None] = shutil.which) -> str | None:
    """Where compute-sanitizer is."""
    found = find("compute-sanitizer")
    return found or next((place for place in PLACES if Path(place).exists()), None)


def command(program: str, tool: str, module: str) -> list[str]:
    """How it is called, over a module of this package that says how much it launched."""
    return [
        *(program, "--tool", tool, "--error-exitcode", str(FOUND_SOMETHING)),
        *("--launch-timeout", "60", "--print-limit", "5"),
        *(sys.executable, "-m", module),
    ]


def read_output(name: str, exit_code: int, output: str) -> Row:
    """What the tool said, as a row."""
    found = _SUMMARY.search(output)
    launched = re.search(r"(\d+ (?:launches|runs)) done", output)
    if found is None or launched is None:
        words = " ".join(output.split())[-300:]
        if any(phrase in output for phrase in _REFUSED):
            return skipped(SECTION, name, f"compute-sanitizer does not work here: {words}")
        return Row(SECTION, name, Verdict.FAILED, note=f"it did not finish ({exit_code}): {words}")
    errors = int(found[1] or found[2] or 0)
    figure = f"{errors} errors in {launched[1]}"
    if errors or exit_code:
        first = re.search(r"={5,} ((?:Invalid|Error|Warning|Program hit|Race).*)", output)
        return Row(SECTION, name, Verdict.FAILED, figure, first[1] if first else "")
    return Row(SECTION, name, Verdict.PASSED, figure)
