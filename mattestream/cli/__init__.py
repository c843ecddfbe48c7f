"""The command `mattestream`.

Reading order: `root` (the commands and how they load), `remove` with `sources` (which files),
`targets` (under which names), `batch` (the work), `local` and `remote` (who does it); then `serve`,
`models`, `doctor` and `demo`.
"""

from __future__ import annotations


def main() -> None:
    """Runs the command line; the entry point of the installed script."""
    from mattestream.cli.root import cli

    cli(prog_name="mattestream")
