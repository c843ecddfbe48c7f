"""The pages keep their word: their examples run, or start a server, as they stand there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from mattestream.cli.serve import serve
from server.catalogue import open_registry
from server.config import Config
from server.config_sources import load_config
from tests.server.fakes import picture
from tests.server.serving import Served

DOCS = Path(__file__).parents[2] / "docs"
PROTOCOL = DOCS / "protocol.md"
OPERATIONS = DOCS / "operations.md"


async def test_the_python_example_of_the_protocol_page_runs(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PROTOCOL.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "in.jpg").write_bytes(picture())
    monkeypatch.chdir(tmp_path)
    program = example.replace("127.0.0.1:50051", f"127.0.0.1:{served.app.port}")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        await asyncio.to_thread(exec, program, {})
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "right: 96" in printed.getvalue()


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
