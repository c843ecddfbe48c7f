"""Flags about edges and colours, one for each keyword of `mattestream.treatment`.

Called by `mattestream.cli.remove`. What a number may be is the server's to judge, as in the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from mattestream.treatment import DESPILLS, REFINES, TreatmentKeywords

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FLAGS = (
    click.option(
        "--refine",
        type=click.Choice(list(REFINES)),
        help="Edges drawn to the picture's.  [default: fast; off on a GPU]",
    ),
    click.option("--feather", "feather_px", type=float, metavar="PX", help="Softens the edge."),
    click.option(
        "--shift", "shift_px", type=float, metavar="PX", help="Moves the edge out, or in below 0."
    ),
    click.option(
        "--threshold", type=float, metavar="0..1", help="No soft edge: subject from this alpha on."
    ),
    click.option("--black-level", type=float, metavar="0..1", help="Alpha up to it becomes 0."),
    click.option("--white-level", type=float, metavar="0..1", help="Alpha from it on becomes 1."),
    click.option(
        "--remove-specks",
        "remove_specks_px",
        type=click.IntRange(min=0),
        metavar="PX",
        help="Removes separate pieces smaller than this area.",
    ),
    click.option(
        "--fill-holes",
        "fill_holes_px",
        type=click.IntRange(min=0),
        metavar="PX",
        help="Fills holes smaller than this area.",
    ),
    click.option(
        "--decontaminate",
        type=float,
        metavar="0..1",
        help="Takes the old background's colour out of the edge.  [default: 1; 0 on a GPU]",
    ),
    click.option(
        "--despill",
        type=click.Choice(list(DESPILLS)),
        help="Removes the cast of a screen of this colour.",
    ),
    click.option(
        "--key",
        metavar="COLOUR|auto",
        help="Keys on a screen of this colour, by the model chroma-key.",
    ),
    click.option(
        "--key-tolerance",
        type=float,
        metavar="0..0.9",
        help="Share of subject up to which a pixel is screen.  [default: 0.12]",
    ),
    click.option(
        "--key-softness",
        type=float,
        metavar="0..1",
        help="Width of the edge from there on.  [default: 0.7]",
    ),
    click.option(
        "--key-despill",
        type=float,
        metavar="0..1",
        help="How much of the screen's light is taken off the subject.  [default: 1]",
    ),
)


def treatment_flags(command: _Command) -> _Command:
    """The command with all the flags, in the order of this file."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def treatment_of(flags: dict[str, Any]) -> TreatmentKeywords:
    """The keywords among a command's flags."""
    names = TreatmentKeywords.__annotations__
    return cast(TreatmentKeywords, {name: flags[name] for name in names})
