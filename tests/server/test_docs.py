"""The pages keep their word: the example of docs/protocol.md runs as it stands there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from pathlib import Path

import pytest

from tests.server.fakes import picture
from tests.server.serving import Served

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"


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
