"""Tables for people: as wide as the terminal, and never squeezed when the output goes elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 200  # characters; rich takes 80 for pipes and cuts the cells


def open_console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr."""
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console = Console(stderr=stderr, width=PIPE_WIDTH)
    return console


def plain_table(*left: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table without lines: columns of text, then columns of numbers."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
