"""Help in sections: a command's flags under headings, so that sixty of them can be read.

Used by the modules that add flags (`treatment_flags`, `connect`, `in_process`); a command shows the
headings when it is made with `cls=Sectioned`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., object])

_OWN = "Options"  # click's heading, here for the flags of the command itself
_ATTRIBUTE = "section"


class Sectioned(click.Command):
    """A command whose help lists its own flags first, then those of each section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the sections in the order in which the command names them, its own first."""
        sections: dict[str, list[tuple[str, str]]] = {_OWN: []}
        for option in (p for p in self.get_params(ctx) if isinstance(p, click.Option)):
            record = option.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(option, _ATTRIBUTE, _OWN), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def section(title: str, *flags: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """All the flags as one decorator, in this order, under a heading."""

    def add(command: _Command) -> _Command:
        for flag in reversed(flags):
            command = flag(command)
            # Where click keeps the options of what is no command yet, the latest last.
            added = command.__click_params__[-1]  # type: ignore[attr-defined]
            setattr(added, _ATTRIBUTE, title)
        return command

    return add
