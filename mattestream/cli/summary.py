"""What `mattestream remove` prints: a progress bar while it works, then a table. All on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mattestream.cli.batch import Finished
from mattestream.cli.console import plain_table
from mattestream.cli.wording import in_flags
from mattestream.reply import Removal
from mattestream.v1 import report_pb2

ROWS = 20  # a longer run gets totals only; failures are always listed


@dataclass(slots=True)
class Tally:
    """What a run came to."""

    done: list[Finished] = field(default_factory=list)
    failed: list[Finished] = field(default_factory=list)
    skipped: list[Finished] = field(default_factory=list)

    def add(self, finished: Finished) -> None:
        """Counts one outcome."""
        if finished.problem:
            self.failed.append(finished)
        elif finished.skipped:
            self.skipped.append(finished)
        else:
            self.done.append(finished)


def watch(console: Console, outcomes: Iterable[Finished], total: int, *, quiet: bool) -> Tally:
    """The tally of all outcomes, with failures printed as they come and a bar on a terminal."""
    tally = Tally()
    columns = (
        TextColumn("removing backgrounds"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    hidden = quiet or total == 1 or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=total)
        for finished in outcomes:
            tally.add(finished)
            progress.advance(task)
            if finished.problem:
                # soft_wrap: a sentence stays one line in logs and pipes.
                name = escape(finished.job.picture.name)
                console.print(f"[red]failed[/] {name}: {escape(finished.problem)}", soft_wrap=True)
            elif finished.removal is not None:
                _print_notes(console, finished, finished.removal, quiet=quiet)
    return tally


def _print_notes(console: Console, finished: Finished, removal: Removal, *, quiet: bool) -> None:
    notes = [in_flags(note) for note in removal.report.notes]
    if removal.report.method == report_pb2.METHOD_FLAT_BACKGROUND:
        notes.append(
            f"a drawing, cut out by its paper's colour {removal.report.removed_color} without the "
            "model (--flat off asks the model)"
        )
    if removal.report.no_subject:
        notes.append("no subject was found, the result is empty")
    for note in () if quiet else notes:
        name = escape(finished.job.picture.name)
        console.print(f"[yellow]note[/] {name}: {escape(note)}", soft_wrap=True)


def print_table(console: Console, tally: Tally, elapsed_s: float) -> None:
    """The table of results, then one line of totals."""
    if tally.done and len(tally.done) <= ROWS:
        console.print(_table(tally.done))
    parts = [f"{len(tally.done)} done in {elapsed_s:.2f} s"]
    if len(tally.done) > 1:
        parts.append(f"{len(tally.done) / elapsed_s:.1f} images/s")
    if tally.done:
        parts.append(_model(tally.done))
    if tally.skipped:
        parts.append(f"{len(tally.skipped)} skipped, their results exist")
    if tally.failed:
        parts.append(f"{len(tally.failed)} failed")
    console.print(", ".join(parts), soft_wrap=True)


def _model(done: Sequence[Finished]) -> str:
    removal = done[0].removal
    used = removal.report.model if removal else None
    return f"{used.name} on {used.engine} ({used.device})" if used else ""


def _table(done: Sequence[Finished]) -> Table:
    numbers = ("size", "decode", "model", "finish", "encode", "total ms")
    table = plain_table("picture", "result", right=numbers)
    for finished in sorted(done, key=lambda one: one.job.picture.name):
        removal = finished.removal
        if removal is None:
            continue
        timings = removal.report.timings
        table.add_row(
            escape(finished.job.picture.name),
            escape(str(finished.job.target or "stdout")),
            f"{removal.width}x{removal.height}",
            f"{timings.decode_ms:.1f}",
            f"{timings.prepare_ms + timings.infer_ms:.1f}",
            f"{timings.finish_ms:.1f}",
            f"{timings.encode_ms:.1f}",
            f"{finished.elapsed_ms:.1f}",
        )
    return table
