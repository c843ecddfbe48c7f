"""The ways to start a server that docs/operations.md shows, with its example file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from mattestream.cli.serve import serve
from server.catalogue import open_registry
from server.config import Config
from server.config_sources import load_config

DOCS = Path(__file__).parents[2] / "docs"
OPERATIONS = DOCS / "operations.md"


def served_settings(line: str, toml: Path) -> Config:
    """The settings that a line of the page starts a server with, its example file at `toml`."""
    words = shlex.split(line, comments=True)
    environ = dict(word.split("=", 1) for word in words[: words.index("mattestream")])
    arguments = words[words.index("serve") + 1 :]
    arguments = [str(toml) if word == toml.name else word for word in arguments]
    flags = dict(serve.make_context("serve", arguments).params)
    return load_config(flags.pop("config_path"), environ, flags)


def test_the_ways_to_start_a_server_on_the_operations_page_are_right(tmp_path: Path) -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    toml = tmp_path / "mattestream.toml"
    toml.write_text(example)
    assert load_config(toml) != Config()
    (lines,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    for line in lines.strip().splitlines():
        config = served_settings(line, toml)
        registry = open_registry(config)
        for name in (config.model, *config.load):
            assert registry.availability(name) == "", line
