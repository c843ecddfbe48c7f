"""`mattestream remove`: files and folders in, cut-outs out, here or on a server."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, cast

import click

from mattestream.cli import batch, sources, targets
from mattestream.cli.connect import connection_flags, open_client
from mattestream.cli.failures import FAILED, WrongUse, as_sentences, missing_extra
from mattestream.cli.in_process import LOCAL_SETTINGS, in_process_flags
from mattestream.cli.sections import Sectioned
from mattestream.cli.treatment_flags import treatment_flags, treatment_of
from mattestream.keywords import OUTPUTS, FormatName
from mattestream.request import build_options
from mattestream.v1 import options_pb2


@click.command(cls=Sectioned)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o",
    "--out",
    metavar="DIR|FILE",
    help="Folder for the results, a file for a single one, - for stdout.  [default: - for stdin]",
)
@click.option("-r", "--recursive", is_flag=True, help="Go down into folders.")
@click.option(
    "--output",
    type=click.Choice(list(OUTPUTS)),
    help="What to make; rle and polygons write JSON, tensor NumPy's .npy.  [default: cutout; "
    "composite with --background]",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["png", "webp", "jpeg", "zip"]),
    help="File type of the results.  [default: the ending of -o FILE, else png]",
)
@click.option(
    "--background",
    metavar="COLOUR|blur|inpaint|FILE",
    help="Put behind the subject: CSS name, hex, the old one, or a picture.  [default: white for "
    "composites]",
)
@click.option("--quality", type=click.IntRange(1, 100), help="Of WebP (80) and JPEG (90).")
@click.option("--model", metavar="NAME", help="See `mattestream models list`.")
@treatment_flags
@click.option(
    "--trimap",
    metavar="FILE",
    help="What is known of the subject, of the picture's size: black is none of it, white is, the "
    "rest is solved.",
)
@click.option("--mask", metavar="FILE", help="Where about the subject is: black and white.")
@click.option("--keep-metadata", is_flag=True, help="Keep ICC profile and resolution.")
@click.option("--force", is_flag=True, help="Replace results that exist.")
@click.option("--skip-existing", is_flag=True, help="Leave results that exist, without an error.")
@click.option("-q", "--quiet", is_flag=True, help="Print failures only.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 256),
    help="Pictures at a time.  [default: one per core]",
)
@connection_flags
@in_process_flags
def remove(
    *,
    paths: tuple[str, ...],
    out: str | None,
    recursive: bool,
    format_name: str | None,
    force: bool,
    skip_existing: bool,
    quiet: bool,
    jobs: int | None,
    **flags: Any,
) -> None:
    """Remove backgrounds from files and folders.

    Results are named after their pictures; nothing is overwritten unless --force says so, and one
    bad file does not stop the rest. Exit code: 0 when all went well, 1 when some failed, 2 for a
    wrong command line.

    \b
    mattestream remove photo.jpg -o photo.png
    mattestream remove shoot/ -r -o cut/ --background white --format jpeg
    mattestream remove shoe.jpg -o shoe.png --look studio --canvas 1200x1200
    cat photo.jpg | mattestream remove - > photo.png
    """  # noqa: D301 - click reads the backspace as "leave these lines alone"
    from mattestream.cli import summary
    from mattestream.cli.console import open_console

    if out is None and paths != (sources.STDIN,):
        raise WrongUse("where to? name a folder or a file with -o (or - for stdout)")
    out = out or targets.STDOUT
    if force and skip_existing:
        raise WrongUse("--force and --skip-existing exclude each other: choose one")
    planned, format_name = _plan(
        paths, out, recursive=recursive, format_name=format_name, output=flags["output"]
    )
    console = open_console(stderr=True)
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        stack.enter_context(as_sentences())
        options = _options(flags, format_name)
        workers = min(jobs or _cores(), len(planned))
        remover = stack.enter_context(_remover(flags, options, workers))
        outcomes = batch.run(
            planned, remover, workers=workers, force=force, skip_existing=skip_existing
        )
        stack.enter_context(contextlib.closing(outcomes))
        tally = summary.watch(console, outcomes, len(planned), quiet=quiet)
        if not quiet:
            summary.print_table(console, tally, time.perf_counter() - started)
    if tally.failed:
        raise click.exceptions.Exit(FAILED)


def _plan(
    paths: tuple[str, ...],
    out: str,
    *,
    recursive: bool,
    format_name: str | None,
    output: str | None,
) -> tuple[list[batch.Job], str]:
    """Every picture with the path of its result, and the format."""
    folder = None if out == targets.STDOUT else Path(out)
    pictures = sources.find(paths, recursive=recursive, without=folder)
    if not pictures:
        hint = "" if recursive else " (-r goes down into folders)"
        raise WrongUse(f"no pictures in {', '.join(paths)}{hint}")
    try:
        destination = targets.read_destination(out, len(pictures))
        chosen = targets.choose_format(format_name, destination, output)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    names = targets.plan(pictures, destination, chosen)
    return [batch.Job(p, name) for p, name in zip(pictures, names, strict=True)], chosen


def _options(flags: dict[str, Any], format_name: str) -> options_pb2.RemoveOptions:
    """The options as they go over the wire, checked here for both modes: what is wrong for every
    picture is told once, before the first.
    """
    options = build_options(
        model=flags["model"],
        output=flags["output"],
        format=None
        if flags["output"] in targets.FORMAT_OF_OUTPUT
        else cast(FormatName, format_name),
        quality=flags["quality"],
        background=flags["background"],
        keep_metadata=flags["keep_metadata"],
        mask=flags["mask"],
        trimap=flags["trimap"],
        **treatment_of(flags),
    )
    try:
        from server.options import read_options
    except ModuleNotFoundError as error:
        if flags["address"] is None or not missing_extra(error):
            raise
        return options  # a client alone: the server will judge them
    read_options(options, stream=False)
    return options


def _remover(
    flags: dict[str, Any], options: options_pb2.RemoveOptions, workers: int
) -> contextlib.AbstractContextManager[batch.Remover]:
    """On the server at --address, else in this process."""
    if flags["address"] is not None:
        from mattestream.cli.remote import RemoteRemover

        return RemoteRemover(open_client(flags["address"], flags), options)
    from mattestream.cli.local import LocalRemover
    from server.config_sources import load_config

    settings = {name: flags[name] for name in LOCAL_SETTINGS}
    return LocalRemover(load_config(None, os.environ, settings), options, workers=workers)


def _cores() -> int:
    from server.machine import usable_cores

    return usable_cores()
