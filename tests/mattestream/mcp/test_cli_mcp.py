"""`mattestream mcp` as an agent's host starts it: a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.mattestream.mcp.conftest import picture

COMMAND = [sys.executable, "-m", "mattestream", "mcp", "--device", "cpu"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(picture(64, 48))
    return path


@pytest.fixture
def log(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "log").open("w+") as file:
        yield file


@pytest.fixture
def address() -> Iterator[str]:
    """A server that runs over HTTP, with no folder named."""
    process = subprocess.Popen([*COMMAND, "--http", "0"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+/mcp", process.stderr.readline())
        assert found is not None
        yield found.group()
    finally:
        process.terminate()
        process.communicate(timeout=30)


async def test_over_stdio_it_works_on_files_of_the_current_folder(photo: Path, log: TextIO) -> None:
    command = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], cwd=photo.parent)
    async with Client(stdio_client(command, errlog=log)) as client:
        made = await client.call_tool(
            "remove_background", {"image": "photo.png", "save_to": "cut.png"}
        )
    assert not made.is_error, made.content
    assert (photo.parent / "cut.png").exists()
    log.seek(0)
    assert log.read() == ""


async def test_over_http_it_opens_no_folder_by_itself(photo: Path, address: str) -> None:
    async with Client(address) as client:
        said = await client.call_tool("describe_subject", {"image": str(photo)})
    assert said.is_error
    assert "--allow" in said.content[0].text


def test_a_folder_that_is_not_there_is_a_wrong_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--allow", str(tmp_path / "none")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "does not exist" in done.stderr
