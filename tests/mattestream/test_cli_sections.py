"""The help of a command with many flags: headings, and no flag lost or shown twice."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from mattestream.cli.root import cli
from mattestream.cli.sections import Sectioned, section


def test_flags_stand_under_their_heading_in_their_order_and_work() -> None:
    @click.command(cls=Sectioned)
    @click.option("--own")
    @section("Edges", click.option("--soft", is_flag=True), click.option("--hard", is_flag=True))
    def command(own: str | None, soft: bool, hard: bool) -> None:
        click.echo(f"{own} {soft} {hard}")

    shown = CliRunner().invoke(command, ["--help"]).output
    places = [shown.index(word) for word in ("Options:", "--own", "Edges:", "--soft", "--hard")]
    assert places == sorted(places)
    assert shown.index("--help") < shown.index("Edges:")
    assert CliRunner().invoke(command, ["--own", "x", "--hard"]).output == "x False True\n"


@pytest.mark.parametrize("name", ["remove", "segment", "mcp"])
def test_every_flag_of_a_command_is_in_its_help_once(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"]).output
    # a flag's line begins with two blanks, its explanation's with more
    begun = re.findall(r"^  (-\w, )?(--[a-z-]+)", shown, flags=re.MULTILINE)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    flags = [option.opts[-1] for option in command.params if isinstance(option, click.Option)]
    assert sorted(flag for _, flag in begun) == sorted([*flags, "--help"])
    assert "\nOn a server:\n" in shown
