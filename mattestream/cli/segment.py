"""`mattestream segment`: the subjects of pictures, each as an alpha of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from mattestream.cli.connect import connection_flags
from mattestream.cli.console import open_console
from mattestream.cli.failures import FAILED, as_sentences
from mattestream.cli.in_process import connected, in_process_flags

if TYPE_CHECKING:
    from mattestream.segmentation import Segmentation


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PICTURE...")
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
@click.option("--force", is_flag=True, help="Replace alphas that exist.")
@connection_flags
@in_process_flags
def segment(paths: tuple[str, ...], out: Path, *, force: bool, **flags: Any) -> None:
    """Write the alpha of each subject by itself, largest first.

    With --point, --box or --mask it is the one subject that they mean, in every picture. Exit code:
    0 when all went well, 1 when a picture failed.
    """
    with as_sentences():
        out.mkdir(parents=True, exist_ok=True)
        failed = asyncio.run(_segment(paths, out, force, flags))
    if failed:
        raise click.exceptions.Exit(FAILED)


async def _segment(paths: tuple[str, ...], out: Path, force: bool, flags: dict[str, Any]) -> int:
    """How many pictures failed."""
    from mattestream.errors import MattestreamError

    names = ("box", "mask", "region", "max_subjects", "model")
    wishes = {name: flags[name] for name in names}
    wishes |= {"points": list(flags["points"]) or None, "largest": flags["largest"] or None}
    console = open_console(stderr=True)
    failed = 0
    async with connected(flags) as client:
        for path in paths:
            try:
                found = await client.segment(path, **wishes)
                _write(found, out, Path(path).stem, replace=force)
            except (MattestreamError, OSError) as error:
                failed += 1
                console.print(f"{path}: {error}", markup=False)
            else:
                console.print(_table(path, found))
    return failed


def _write(found: Segmentation, out: Path, stem: str, *, replace: bool) -> None:
    for number, subject in enumerate(found.subjects, start=1):
        subject.alpha.save(out / f"{stem}-{number}.png", replace=replace)


def _table(path: str, found: Segmentation) -> Table:
    table = Table(title=path, caption=None if found.subjects else "no subject was found")
    for name in ("subject", "box", "share", "score"):
        table.add_column(name, justify="right")
    for number, subject in enumerate(found.subjects, start=1):
        left, top, right, bottom = subject.box
        box = f"{left:.0f},{top:.0f} {right:.0f},{bottom:.0f}"
        table.add_row(str(number), box, f"{subject.coverage:.1%}", f"{subject.score:.2f}")
    return table
