"""`mattestream segment`: the subjects of pictures, each as an alpha of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from mattestream.cli import sources, targets
from mattestream.cli.connect import connection_flags
from mattestream.cli.console import open_console, plain_table
from mattestream.cli.failures import FAILED, WrongUse, as_sentences
from mattestream.cli.in_process import connected, in_process_flags
from mattestream.cli.sections import Sectioned
from mattestream.cli.wording import in_flags

if TYPE_CHECKING:
    from mattestream.segmentation import Segmentation


@click.command(cls=Sectioned)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the alphas, NAME-1.png and so on; made where it is missing.",
)
@click.option(
    "--point",
    "points",
    multiple=True,
    metavar="X,Y[,-]",
    help="On the subject that is meant; with ,- on what is not. Several times.",
)
@click.option("--box", metavar="L,T,R,B", help="Around the subject that is meant.")
@click.option("--mask", metavar="FILE", help="Where about the subject is: black and white.")
@click.option("--region", metavar="L,T,R,B", help="Outside of it nothing is a subject.")
@click.option("--largest", is_flag=True, help="The largest subject only.")
@click.option("--max-subjects", type=click.IntRange(1, 64), help="[default: 16]")
@click.option("--model", metavar="NAME", help="With a prompt, the model that answers it.")
@click.option("-r", "--recursive", is_flag=True, help="Go down into folders.")
@click.option("--force", is_flag=True, help="Replace alphas that exist.")
@connection_flags
@in_process_flags
def segment(
    paths: tuple[str, ...], out: Path, *, recursive: bool, force: bool, **flags: Any
) -> None:
    """Write the alpha of each subject by itself, largest first.

    Takes files, folders and - for stdin. With --point, --box or --mask it is the one subject that
    they mean, in every picture. Exit code: 0 when all went well, 1 when a picture failed, 2 for a
    wrong command line.

    \b
    mattestream segment street.jpg -o alphas
    mattestream segment street.jpg -o alphas --point 420,310 --point 600,300,-
    """  # noqa: D301 - click reads the backspace as "leave these lines alone"
    pictures = sources.find(paths, recursive=recursive, without=out)
    if not pictures:
        hint = "" if recursive else " (-r goes down into folders)"
        raise WrongUse(f"no pictures in {', '.join(paths)}{hint}")
    with as_sentences():
        failed = asyncio.run(_segment(pictures, out, force, flags))
    if failed:
        raise click.exceptions.Exit(FAILED)


async def _segment(
    pictures: list[sources.Picture], out: Path, force: bool, flags: dict[str, Any]
) -> int:
    """How many pictures failed."""
    from mattestream.errors import MattestreamError

    wishes = {name: flags[name] for name in ("box", "mask", "region", "max_subjects", "model")}
    wishes |= {"points": list(flags["points"]) or None, "largest": flags["largest"] or None}
    console = open_console(stderr=True)
    table = plain_table("picture", "alpha", right=("box", "share", "score"))
    failed = 0
    names = targets.plan(pictures, targets.Destination(folder=out), "png")
    async with connected(flags) as client:
        for picture, name in zip(pictures, names, strict=True):
            assert name is not None  # there is a folder
            try:
                found = await client.segment(_image(picture), **wishes)
                paths = _write(found, name.with_suffix(""), replace=force)
            except (MattestreamError, OSError) as error:
                failed += 1
                problem = escape(_problem(error, picture))
                console.print(f"[red]failed[/] {escape(picture.name)}: {problem}", soft_wrap=True)
                continue
            _add_rows(table, picture.name, found, paths)
            if not paths:
                note = f"[yellow]note[/] {escape(picture.name)}: no subject was found"
                console.print(note, soft_wrap=True)
    if table.rows:
        console.print(table)
    return failed


def _image(picture: sources.Picture) -> bytes:
    return sys.stdin.buffer.read() if picture.path is None else picture.path.read_bytes()


def _problem(error: Exception, picture: sources.Picture) -> str:
    if isinstance(error, FileExistsError):
        return f"{error.filename} exists: use --force to replace it"
    if not isinstance(error, OSError):
        return in_flags(str(error))
    said = error.strerror or str(error)
    return said if str(error.filename) == picture.name else f"{error.filename}: {said}"


def _write(found: Segmentation, name: Path, *, replace: bool) -> list[Path]:
    """NAME-1.png and so on, written; the folder is made where it is missing."""
    name.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(1, len(found.subjects) + 1)
    paths = [name.with_name(f"{name.name}-{number}.png") for number in numbers]
    for subject, path in zip(found.subjects, paths, strict=True):
        subject.alpha.save(path, replace=replace)
    return paths


def _add_rows(table: Table, name: str, found: Segmentation, paths: list[Path]) -> None:
    """A line for each subject; its box is written as --box takes it."""
    for subject, path in zip(found.subjects, paths, strict=True):
        box = ",".join(f"{side:.0f}" for side in subject.box)
        figures = (box, f"{subject.coverage:.1%}", f"{subject.score:.2f}")
        table.add_row(escape(name), escape(str(path)), *figures)
