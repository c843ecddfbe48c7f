"""What a run leaves behind: facts of the machine and the commit, tables, JSON and Markdown.

Called by every program in `loadtest` at its end. Files carry no host name and no absolute paths.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "loadtest" / "results"
OUR_LIBRARIES = (
    "grpcio",
    "isal",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "protobuf",
    "simplejpeg",
)
MB = 1e6

_VERSIONS = """
import json, platform, sys
from importlib import metadata
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = "absent"
print(json.dumps(found))
"""


def machine_facts() -> dict[str, str]:
    """What the figures depend on, name to words; no host name."""
    load_1min = os.getloadavg()[0]
    return {
        "cpu": _cpu_model(),
        "cores": f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average before the run": f"{load_1min:.2f} (1 min)",
    }


def versions(names: Sequence[str], python: Path | None = None) -> dict[str, str]:
    """Versions of Python and of the distributions `names`; "absent" where one is not installed.

    Args:
        names: distributions as a package index knows them.
        python: another environment's interpreter; None: this process.
    """
    if python is None:
        return {"python": platform.python_version(), **{name: _version(name) for name in names}}
    command = [str(python), "-c", _VERSIONS, *names]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    found: dict[str, str] = json.loads(answer.stdout)
    return found


def commit() -> str:
    """The checkout's commit, "+ changes" when files differ from it; "unknown" without git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return f"{head} + changes" if _git("status", "--porcelain") else head
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def shown_command(program: str, arguments: Sequence[str]) -> str:
    """The command line that made a report, with absolute paths cut to ".../name"."""
    shown = [f".../{Path(word).name}" if Path(word).is_absolute() else word for word in arguments]
    return shlex.join(["python", "-m", f"loadtest.{program}", *shown])


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table in even columns; the first one to the left, others to the right.

    Raises:
        ValueError: a row has not as many cells as there are headers.
    """
    for row in rows:
        if len(row) != len(headers):
            raise ValueError(f"a row has {len(row)} cells, the table {len(headers)} columns: {row}")
    widths = [max(3, *(len(row[i]) for row in (headers, *rows))) for i in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *others]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|"
    return "\n".join([line(headers), rule, *map(line, rows)])


def facts_list(facts: Mapping[str, str]) -> str:
    """Facts as a Markdown list, a line each."""
    return "\n".join(f"- {name}: {words}" for name, words in facts.items())


def write_results(
    name: str, figures: Mapping[str, object], text: str, folder: Path = RESULTS
) -> tuple[Path, Path]:
    """Paths of the JSON and the Markdown file, `<date>-<name>`; an older run of the day is kept.

    Args:
        name: what was measured: "compare-rembg".
        figures: everything, for programs.
        text: the page for people, Markdown.
        folder: where to; made when missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = f"{datetime.now(UTC):%Y-%m-%d}-{name}"
    stem, number = base, 1
    while (folder / f"{stem}.json").exists() or (folder / f"{stem}.md").exists():
        number += 1
        stem = f"{base}-{number}"
    as_json, as_text = folder / f"{stem}.json", folder / f"{stem}.md"
    as_json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    as_text.write_text(text.rstrip() + "\n", encoding="utf-8")
    return as_json, as_text


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
