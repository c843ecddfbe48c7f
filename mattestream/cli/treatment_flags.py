"""Flags about edges, colours and looks, one for each keyword of `mattestream.treatment`.

Called by `mattestream.cli.remove`. What a number may be is the server's to judge, as in the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from mattestream.cli.sections import section
from mattestream.known_background import ENCLOSED, FLAT_USES
from mattestream.look import FITS, LOOKS, SHADOWS
from mattestream.shapes import TENSORS
from mattestream.treatment import DESPILLS, REFINES, TreatmentKeywords

_Command = TypeVar("_Command", bound=Callable[..., Any])

_EDGES = section(
    "Edges",
    click.option(
        "--refine",
        type=click.Choice(list(REFINES)),
        help="Edges drawn to the picture's.  [default: fast; off on a GPU]",
    ),
    click.option("--feather", "feather_px", type=float, metavar="PX", help="Softens the edge."),
    click.option(
        "--shift",
        "shift_px",
        type=float,
        metavar="PX",
        help="Moves the edge out, or in below 0.",
    ),
    click.option(
        "--threshold",
        type=float,
        metavar="0..1",
        help="No soft edge: subject from this alpha on.",
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
)
_KNOWN_GROUNDS = section(
    "Green screens and drawings",
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
    click.option(
        "--flat",
        type=click.Choice(list(FLAT_USES)),
        help="Drawings: cut out by their paper's colour, without the model.  [default: auto]",
    ),
    click.option(
        "--enclosed",
        type=click.Choice(list(ENCLOSED)),
        help="Drawings: paper inside of them.  [default: by the ink around it]",
    ),
)
_BEHIND = section(
    "Behind the subject",
    click.option(
        "--look",
        type=click.Choice(list(LOOKS)),
        help="studio: white, contact shadow, margin; avatar: a circle, light grey behind.",
    ),
    click.option("--background-fit", type=click.Choice(list(FITS)), help="Of a picture."),
    click.option("--background-position", metavar="X,Y", help="Of a picture; 0 is left and top."),
    click.option("--background-color", metavar="COLOUR", help="Where a picture does not reach."),
    click.option(
        "--background-blur",
        "background_blur_px",
        type=float,
        metavar="PX",
        help="Of blur, which it stands for.  [default: 1 % of the longer side]",
    ),
)
_FRAME = section(
    "Frame",
    click.option(
        "--crop",
        is_flag=True,
        default=None,
        help="Cut tight around the subject; so does each of --margin to --flush.",
    ),
    click.option(
        "--margin", metavar="PX|N%[,...]", help="Left around it: one, or top,right,bottom,left."
    ),
    click.option("--aspect", metavar="W:H", help="Of the cut, as 16:9 or 0.8."),
    click.option(
        "--canvas",
        metavar="WxH|source",
        help="Size of the result, 0 for as it falls out; source: its size, and the subject's own.",
    ),
    click.option(
        "--scale", type=float, metavar="0.1..1", help="Share of the canvas that it takes."
    ),
    click.option("--position", metavar="X,Y", help="Where it stands; 0 is left and top."),
    click.option("--circle", is_flag=True, default=None, help="Cut to a circle."),
    click.option(
        "--flush",
        is_flag=True,
        default=None,
        help="Where the picture's edge cuts the subject off, so does the result's.",
    ),
)
_SHADOW = section(
    "Shadow",
    click.option("--shadow", type=click.Choice(list(SHADOWS)), help="Laid under the subject."),
    click.option("--shadow-opacity", type=float, metavar="0..1", help="[default: 0.5]"),
    click.option(
        "--shadow-blur",
        "shadow_blur_px",
        type=float,
        metavar="PX",
        help="[default: 2 % of its height]",
    ),
    click.option(
        "--shadow-offset",
        "shadow_offset_px",
        metavar="X,Y",
        help="Right and down.  [default: by the kind]",
    ),
)
_TENSORS = section(
    "Tensors",
    click.option(
        "--tensor-type",
        type=click.Choice(list(TENSORS)),
        help="fp32 and fp16 are NCHW, uint8 is HWC.  [default: fp32]",
    ),
    click.option("--tensor-mean", metavar="R,G,B", help="Taken off values of 0..1."),
    click.option("--tensor-std", metavar="R,G,B", help="What is left is divided by it."),
)
_WHICH = section(
    "Which subject",
    click.option("--largest", is_flag=True, default=None, help="Keep the largest subject only."),
    click.option(
        "--point",
        "points",
        multiple=True,
        metavar="X,Y[,-]",
        help="On the subject that is meant; with ,- on what is not. Several times.",
    ),
    click.option("--box", metavar="L,T,R,B", help="Around the subject that is meant."),
    click.option("--region", metavar="L,T,R,B", help="Outside of it all is background."),
)
_SECTIONS = (_EDGES, _KNOWN_GROUNDS, _BEHIND, _FRAME, _SHADOW, _TENSORS, _WHICH)


def treatment_flags(command: _Command) -> _Command:
    """The command with all the flags, in the order of this file."""
    for add in reversed(_SECTIONS):
        command = add(command)
    return command


def treatment_of(flags: dict[str, Any]) -> TreatmentKeywords:
    """The keywords among a command's flags."""
    names = TreatmentKeywords.__annotations__
    return cast(TreatmentKeywords, {name: flags[name] for name in names})
