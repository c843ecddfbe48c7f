"""`mattestream serve`: the flags are the rows of `server.config`'s table, one for one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from mattestream.cli.failures import Failure, as_sentences
from server import allocator, signals
from server.config import keys
from server.config_key import Key
from server.config_sources import load_config


def _option(key: Key) -> click.Option:
    """The flag of one setting; without a default, so that file and environment show through."""
    if key.kind is bool:
        return click.Option(
            [f"{key.flag}/--no-{key.flag[2:]}", key.name],
            default=None,
            help=f"{key.doc} [default: {_default(key)}]",
        )
    return click.Option(
        [key.flag, key.name],
        type=click.Choice(key.choices) if key.choices else str,
        multiple=key.many,
        metavar=None if key.choices else _metavar(key),
        help=f"{key.doc} [default: {_default(key)}]",
    )


def _metavar(key: Key) -> str:
    if key.unit:
        return key.unit.upper()
    return {int: "N", float: "X", Path: "PATH"}.get(key.kind, "TEXT")


def _default(key: Key) -> str:
    if key.default in {None, ()}:
        return "none"
    if key.kind is bool:
        return str(key.default).lower()
    return f"{key.default:g}" if isinstance(key.default, float) else str(key.default)


@click.command(context_settings={"show_default": False})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="TOML file with settings; MATTESTREAM_* variables win over it, flags over both.",
)
def serve(config_path: Path | None, **flags: Any) -> None:
    """Start the server, for gRPC and HTTP.

    Stops on SIGTERM or Ctrl-C: new work is refused, work in flight finishes. Exit code: 0 when it
    did, 1 when calls were cut off or the server could not start, 2 for a wrong setting.

    \b
    mattestream serve
    mattestream serve --config mattestream.toml --threads 8
    MATTESTREAM_PORT=50052 mattestream serve --load matte-m
    """  # noqa: D301 - click reads the backspace as "leave these lines alone"
    # Held until the server can stop in order: a SIGTERM while it loads ends with exit 0, too.
    with signals.held(), as_sentences():
        # Before anything heavy, because it starts the process again: see server/allocator.py.
        allocator.ensure(os.environ, sys.orig_argv[1:])
        config = load_config(config_path, os.environ, flags)
        from server import app

        try:
            exit_code = app.serve(config)
        except app.StartError as error:
            raise Failure(str(error)) from error
    raise click.exceptions.Exit(exit_code)


serve.params.extend(_option(key) for key in keys())
