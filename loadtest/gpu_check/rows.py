"""One row of the answer, the table of all of them, and the file they are kept in."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

_NOTE_WIDTH = 70


class Verdict(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "FAILED"
    SKIPPED = "not run"
    MEASURED = "measured"  # a figure without an aim
    BELOW = "below aim"  # a figure that misses its aim; no failure


@dataclass(frozen=True, slots=True)
class Row:
    """One check or figure.

    Attributes:
        section: which part of the check: "bandwidth".
        name: what was looked at: "feather 1920x1080".
        verdict: what came of it.
        figure: the number with its unit, for people.
        note: why, in a sentence; of a skipped row, what it would need.
        data: the numbers, for programs.
    """

    section: str
    name: str
    verdict: Verdict
    figure: str = ""
    note: str = ""
    data: Mapping[str, object] = field(default_factory=dict)


def passed_if(good: bool, section: str, name: str, figure: str = "", note: str = "") -> Row:
    """A row that passed or failed; the note is kept for the failure only."""
    if good:
        return Row(section, name, Verdict.PASSED, figure)
    return Row(section, name, Verdict.FAILED, figure, note)


def any_failed(rows: Sequence[Row]) -> bool:
    """True when the whole check failed."""
    return any(row.verdict is Verdict.FAILED for row in rows)


def summary(rows: Sequence[Row]) -> str:
    """How many of each verdict, in one line."""
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    return (
        ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "no rows"
    )


def plain_table(rows: Sequence[Row]) -> str:
    """The rows as text, a line each; notes that are long go on below."""
    if not rows:
        return "no rows"
    widths = [max(len(text) for text in column) for column in _columns(rows)]
    lines = []
    for row in rows:
        cells = (row.section, row.name, str(row.verdict), row.figure)
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        notes = textwrap.wrap(row.note, _NOTE_WIDTH) or [""]
        lines.append(f"{line}  {notes[0]}".rstrip())
        lines += [" " * (len(line) + 2) + more for more in notes[1:]]
    return "\n".join(lines)


def print_table(rows: Sequence[Row]) -> None:
    """The table on stdout, in colours where rich is installed."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        print(plain_table(rows))
        return
    colours = {
        Verdict.PASSED: "green",
        Verdict.FAILED: "bold red",
        Verdict.SKIPPED: "yellow",
        Verdict.BELOW: "magenta",
    }
    table = Table(box=None, pad_edge=False)
    for heading in ("section", "what", "verdict", "figure"):
        table.add_column(heading, no_wrap=True)
    table.add_column("note", max_width=_NOTE_WIDTH)
    for row in rows:
        verdict = Text(str(row.verdict), colours.get(row.verdict, ""))
        table.add_row(Text(row.section), Text(row.name), verdict, Text(row.figure), Text(row.note))
    console = Console()
    if not console.is_terminal:  # rich takes 80 columns for a pipe and cuts the cells
        console = Console(width=200)
    console.print(table)


def write_json(
    rows: Sequence[Row], facts: Mapping[str, object], folder: Path, *, today: str = ""
) -> Path:
    """`folder`/gpu-<date>.json, a later number behind it when the day has one already.

    Args:
        rows: all of them.
        facts: machine, versions, commit, command.
        folder: made when missing.
        today: YYYY-MM-DD; empty: now, UTC.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = base = f"gpu-{today or f'{datetime.now(UTC):%Y-%m-%d}'}"
    number = 1
    while (path := folder / f"{stem}.json").exists():
        number += 1
        stem = f"{base}-{number}"
    content = {"facts": dict(facts), "summary": summary(rows), "rows": [asdict(r) for r in rows]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def to_lines(rows: Sequence[Row]) -> str:
    """The rows as JSON, one a line: what a section's process hands back."""
    return "".join(json.dumps(asdict(row)) + "\n" for row in rows)


def from_lines(text: str) -> list[Row]:
    """The rows that `to_lines` wrote; a last line that was cut off is left out."""
    rows = []
    for line in text.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            break
        rows.append(Row(**{**told, "verdict": Verdict(told["verdict"])}))
    return rows


def _columns(rows: Sequence[Row]) -> list[list[str]]:
    return [
        [row.section for row in rows],
        [row.name for row in rows],
        [str(row.verdict) for row in rows],
        [row.figure for row in rows],
    ]
