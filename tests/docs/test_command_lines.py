"""Every command line of the pages is one that the program takes; those that can run here do."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from mattestream import app_path
from mattestream.cli.root import cli
from tests.docs.pages import ROOT, Command, blocks, commands, commands_in_sentences
from tests.mattestream.running import RunningServer

RUN = {"remove", "segment", "eval", "doctor", "keys"}  # and `models list`: no network, no end
UNRUN = {"NAME", "mine", "--device"}  # models of the reader's own, a GPU


def own_lines() -> list[Command]:
    return [*commands("mattestream"), *commands_in_sentences(), *examples_of_helps()]


def examples_of_helps() -> list[Command]:
    """The examples in the help of every command, found as `--help` prints them."""
    app_path.activate()
    found, waiting = [], [("mattestream", cli)]
    while waiting:
        name, command = waiting.pop()
        for number, line in enumerate((command.help or "").splitlines(), 1):
            words = (
                shlex.split(re.sub(r" {4,}.*", "", line.strip())) if "mattestream " in line else []
            )
            if words[:1] == ["mattestream"] and words[1:2] != ["COMMAND"]:
                found.append(Command(f"help of {name}", number, tuple(words)))
        if isinstance(command, click.Group):
            context = click.Context(command)
            names = command.list_commands(context)
            waiting += [(each, command.get_command(context, each)) for each in names]
    return found


def whole(command: Command) -> bool:
    """False for a pattern of a line, as `mattestream keys --hash < plain`."""
    return not {"<", ">", "|", "..."} & set(command.words)


@pytest.mark.parametrize("line", list(filter(whole, own_lines())), ids=str)
def test_the_command_knows_every_flag_of_the_line(line: Command, desk: Path):
    for name in ("Pictures", "nets", "models"):
        (desk / name).mkdir()
    (desk / "mattestream.toml").touch()
    arguments = [word.replace("~", str(desk)) for word in line.words[1:]]
    command: click.Command = cli
    while isinstance(command, click.Group):
        name = arguments.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"there is no command {name}"
        command = found
    command.make_context(command.name, arguments)  # a flag or value that it does not take raises


def runs_here(line: Command) -> bool:
    name = line.words[1]
    return (name in RUN or line.words[1:3] == ("models", "list")) and not UNRUN & set(line.words)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("line", list(filter(runs_here, commands("mattestream"))), ids=str)
def test_the_line_runs_as_it_is_printed(
    line: Command, desk: Path, server: RunningServer, tiny_manifests: None
):
    words = [word.replace("127.0.0.1:50051", server.address) for word in line.words[1:]]
    if "--composites" in words:
        words[words.index("--composites") + 1] = "2"  # of hundreds, which take minutes
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    if "-o" in words:
        assert_made(desk / words[words.index("-o") + 1])


@pytest.fixture
def tiny_manifests(desk: Path) -> None:
    """Folders that lines with --model-dir name."""
    for name in ("nets", "models"):
        (desk / name).mkdir()


def assert_made(result: Path) -> None:
    made = [result] if result.is_file() else [p for p in result.rglob("*") if p.is_file()]
    assert made, f"{result} is empty"
    for path in made:
        if path.suffix in {".png", ".jpg", ".webp"}:
            with Image.open(path) as picture:
                picture.verify()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(
    "line", [line for line in commands("curl") if "batches" not in " ".join(line.words)], ids=str
)
def test_the_request_by_curl_is_answered_with_a_picture(
    line: Command, desk: Path, server: RunningServer
):
    words = [word.replace("http://127.0.0.1:8080", server.http) for word in line.words]
    subprocess.run([*words, "--fail", "--silent", "--show-error"], check=True, timeout=60)
    assert_made(desk / words[words.index("-o") + 1])


@pytest.mark.parametrize("line", commands("python"), ids=str)
def test_the_module_of_the_line_is_there(line: Command):
    if line.words[1] == "-m":
        assert importlib.util.find_spec(line.words[2]) is not None


def test_the_make_targets_of_the_pages_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    named = {line.words[1] for line in commands("make")}
    assert len(named) > 5
    assert named <= targets


def test_most_commands_have_an_example_in_their_help():
    assert len({line.page for line in examples_of_helps()}) >= 8


def test_no_block_of_commands_hides_its_language():
    starts = ("mattestream ", "make ", "python ", "pip ", "curl ")
    hidden = [str(block) for block in blocks("") if block.text.startswith(starts)]
    assert hidden == []
