"""compute-sanitizer over a small launch of every kernel: memcheck and racecheck.

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
TOOLS = ("memcheck", "racecheck")
PLACES = ("/usr/local/cuda/bin/compute-sanitizer",)
FOUND_SOMETHING = 86  # the exit code that is asked for; a program's own would be taken for it
_SUMMARY = re.compile(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazards? displayed)")
_REFUSED = ("not supported", "Device not supported", "Unable to", "insufficient permission")


def rows(find: Callable[[str], str | None] = shutil.which) -> Iterator[Row]:
    """One row per tool."""
    program = find_program(find)
    for tool in TOOLS:
        if program is None:
            yield skipped(
                SECTION, tool, "compute-sanitizer is not installed: it is in the CUDA toolkit"
            )
            continue
        done = subprocess.run(
            command(program, tool),
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
        )
        yield read_output(tool, done.returncode, done.stdout + done.stderr)


def find_program(find: Callable[[str], str | None] = shutil.which) -> str | None:
    """Where compute-sanitizer is."""
    found = find("compute-sanitizer")
    return found or next((place for place in PLACES if Path(place).exists()), None)


def command(program: str, tool: str) -> list[str]:
    """How it is called, over `loadtest.gpu_check.small_launches`."""
    return [
        *(program, "--tool", tool, "--error-exitcode", str(FOUND_SOMETHING)),
        *("--launch-timeout", "60", "--print-limit", "5"),
        *(sys.executable, "-m", "loadtest.gpu_check.small_launches"),
    ]


def read_output(tool: str, exit_code: int, output: str) -> Row:
    """What the tool said, as a row."""
    found = _SUMMARY.search(output)
    launched = re.search(r"(\d+) launches done", output)
    if found is None or launched is None:
        words = " ".join(output.split())[-300:]
        if any(phrase in output for phrase in _REFUSED):
            return skipped(SECTION, tool, f"compute-sanitizer does not work here: {words}")
        return Row(SECTION, tool, Verdict.FAILED, note=f"it did not finish ({exit_code}): {words}")
    errors = int(found[1] or found[2] or 0)
    figure = f"{errors} errors in {launched[1]} launches"
    if errors or exit_code:
        first = re.search(r"={5,} ((?:Invalid|Error|Warning|Program hit|Race).*)", output)
        return Row(SECTION, tool, Verdict.FAILED, figure, first[1] if first else "")
    return Row(SECTION, tool, Verdict.PASSED, figure)
