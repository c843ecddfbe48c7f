"""`mattestream keys`: a new API key, and the line that stands for it in the server's key file."""

from __future__ import annotations

import secrets
import sys

import click

from mattestream.cli.failures import Failure
from server.auth import MIN_KEY_CHARS, hashed


@click.command()
@click.option("--name", default="", help="Whose key it is; stands behind the digest in the file.")
@click.option(
    "--hash",
    "from_stdin",
    is_flag=True,
    help="Make no key: read keys from standard input, one a line, and print their file lines.",
)
def keys(name: str, from_stdin: bool) -> None:
    """Make an API key, and the line of the server's key file.

    The key goes to the caller and is shown only here; --api-keys-file holds its SHA-256.

    \b
    mattestream keys --name shop
    mattestream keys --hash < plain-keys.txt > keys.txt
    """  # noqa: D301 - click reads the backspace as "leave these lines alone"
    if not from_stdin:
        key = secrets.token_urlsafe(32)
        click.echo(f"key   {key}")
        click.echo(f"line  {_line(key, name)}")
        return
    for number, text in enumerate(sys.stdin, start=1):
        key = text.strip()
        if not key or key.startswith("#"):
            click.echo(key)
        elif len(key) < MIN_KEY_CHARS:
            raise Failure(
                f"key {number} has {len(key)} characters: use {MIN_KEY_CHARS} or more, or leave "
                "out --hash and have one made"
            )
        else:
            click.echo(_line(key, name))


def _line(key: str, name: str) -> str:
    return f"{hashed(key)} {name}".rstrip()
