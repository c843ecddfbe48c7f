"""The commands by name, loaded one at a time: `mattestream --help` imports none of them."""

from __future__ import annotations

import difflib
import importlib
from typing import NamedTuple

import click

import mattestream
from mattestream import app_path
from mattestream.cli.failures import Failure, missing_extra


class Lazy(NamedTuple):
    """Where a command lives and what `--help` says of it."""

    module: str
    attribute: str
    help: str
    hidden: bool = False


COMMANDS = {
    "remove": Lazy("remove", "remove", "Remove backgrounds from files and folders."),
    "segment": Lazy("segment", "segment", "Write the alpha of each subject by itself."),
    "serve": Lazy("serve", "serve", "Start the server, for gRPC and HTTP."),
    "mcp": Lazy("mcp", "mcp", "Serve background removal to agents, as MCP tools."),
    "keys": Lazy("keys", "keys", "Make an API key, and the line of the server's key file."),
    "models": Lazy("models", "models", "List, show, pull, load and unload models."),
    "eval": Lazy(
        "evaluate", "evaluate", "Measure models and settings against pictures with truth."
    ),
    "doctor": Lazy("doctor", "doctor", "Say what this machine can run, and what adds the rest."),
    "demo": Lazy("demo", "demo", "Start a server, stream real photos to it, show timings."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of `COMMANDS`."""
        return [name for name, command in COMMANDS.items() if not command.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported; None for an unknown name.

        Raises:
            Failure: it needs a library that is not installed.
        """
        if cmd_name not in COMMANDS:
            return None
        app_path.activate()
        entry = COMMANDS[cmd_name]
        try:
            module = importlib.import_module(f"mattestream.cli.{entry.module}")
        except ModuleNotFoundError as error:
            if not (sentence := missing_extra(error)):
                raise
            raise Failure(sentence) from error
        command = getattr(module, entry.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.{entry.attribute} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click has it, with the nearest name where there is none of this one."""
        near = difflib.get_close_matches(args[0], COMMANDS, 1)
        if args[0] not in COMMANDS and near and not args[0].startswith("-"):
            ctx.fail(f"No such command '{args[0]}': did you mean {near[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mattestream.__version__, prog_name="mattestream")
def cli() -> None:
    """Background removal: one photo in, a cut-out out.

    \b
    mattestream remove photo.jpg -o photo.png    in this process
    mattestream serve                            as a server
    mattestream COMMAND -h                       what a command can do

    Every command ends with exit code 0 when all went well, 1 when something failed, and 2 when the
    command line or a setting is wrong.
    """  # noqa: D301 - click reads the backspace as "leave these lines alone"
