"""The sections, each in a process of its own: one that crashes, hangs or loses the device costs its
own rows and nothing else. Called by `__main__`.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loadtest.gpu_check.rows import Row, Verdict, from_lines, to_lines

ROOT = Path(__file__).resolve().parents[2]
BUDGET_S = 470.0  # of the whole check: 8 minutes, less the start
_LEAST_S = 5.0  # a section that would get less is not begun
_TAIL = 400  # characters of a process's last words that are kept


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the check.

    Attributes:
        name: on the command line and in the table.
        module: of `loadtest.gpu_check`; its `rows()` gives `Row`s as they come.
        budget_s: after which it is ended.
        needs: modules without which it is not begun.
    """

    name: str
    module: str
    budget_s: float
    needs: tuple[str, ...] = ("cupy",)


SECTIONS = (
    Section("flow", "flow", 60, ("cupy", "cv2", "PIL")),
    Section("bandwidth", "bandwidth", 80),
    Section("latency", "latency", 90, ("cupy", "cv2", "PIL")),
    Section("sharing", "sharing", 50),
    Section("kernels", "kernel_tests", 150, ("cupy", "pytest", "cv2")),
    Section("sanitizer", "sanitizer", 215),
)


def run_here(section: Section, keep: Callable[[Row], None]) -> None:
    """The section's rows in this process, each handed to `keep` as it comes.

    An exception is a failed row; rows from before it are kept.
    """
    lacking = [name for name in section.needs if not _loads(name)]
    if lacking:
        keep(skipped(section.name, section.name, f"needs {', '.join(lacking)}, not installed here"))
        return
    try:
        module = importlib.import_module(f"loadtest.gpu_check.{section.module}")
        produced: Iterable[Row] = module.rows()
        for row in produced:
            keep(row)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        note = f"{type(error).__name__}: {error} ({where})"
        keep(Row(section.name, section.name, Verdict.FAILED, note=note))


def run_in_child(section: Section, timeout_s: float, folder: Path) -> list[Row]:
    """The section's rows from a process of its own.

    Args:
        section: which.
        timeout_s: after which the process is ended, and with it all that it started.
        folder: where it may write.
    """
    kept = folder / f"{section.name}.jsonl"
    kept.unlink(missing_ok=True)
    ended = ""
    # Into a file: a pipe would be waited for as long as a grandchild holds it.
    with tempfile.TemporaryFile(dir=folder) as output:
        process = subprocess.Popen(
            command(section, kept),
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if code := process.wait(timeout_s):
                output.seek(0)
                last = " ".join(output.read().decode(errors="replace").split())[-_TAIL:]
                ended = f"its process ended with {code}: {last}"
        except subprocess.TimeoutExpired:
            ended = f"not finished within {timeout_s:.0f} s; what came before is in the table"
        finally:
            _end_group(process)
    rows = from_lines(kept.read_text(encoding="utf-8")) if kept.exists() else []
    if ended:
        rows.append(Row(section.name, section.name, Verdict.FAILED, note=ended))
    elif not rows:
        rows.append(Row(section.name, section.name, Verdict.FAILED, note="it gave no rows"))
    return rows


def command(section: Section, kept: Path) -> list[str]:
    """How a section is begun in a process of its own, which appends its rows to `kept`."""
    return [
        *(sys.executable, "-m", "loadtest.gpu_check"),
        *("--section", section.name, "--rows", str(kept)),
    ]


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and what it started: a test or a sanitizer left behind would go on using
    the GPU that the next section measures.
    """
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)  # the leader of its group by `start_new_session`
    process.wait()


def run_all(
    chosen: Iterable[Section],
    folder: Path,
    *,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
    run: Callable[[Section, float, Path], list[Row]] = run_in_child,
) -> list[Row]:
    """The rows of all `chosen` sections, within `budget_s` together."""
    started = clock()
    rows = []
    for section in chosen:
        left = budget_s - (clock() - started)
        if left < _LEAST_S:
            reason = f"the {budget_s:.0f} s of the whole check were used up before it"
            rows.append(Row(section.name, section.name, Verdict.FAILED, note=reason))
            continue
        rows += run(section, min(section.budget_s, left), folder)
    return rows


def skipped(section: str, name: str, reason: str) -> Row:
    """A check that cannot be made on this machine, and why."""
    return Row(section, name, Verdict.SKIPPED, note=reason)


def append_to(path: Path) -> Callable[[Row], None]:
    """Writes each row at once, so that a process that dies has handed over what it had."""

    def keep(row: Row) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(to_lines([row]))

    return keep


def _loads(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
