"""Every Python block of the pages runs as it is printed, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mattestream import Client
from tests.docs.pages import Block, blocks
from tests.mattestream.running import RunningServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WRITES = re.compile(r'(?:\.save\("|Path\(")([^"]+)"\)(?:\.write_bytes)?(?!\.read)')


def example_names(client: Client) -> dict[str, object]:
    """What the pages take for granted in a short example: the text around it says so."""
    frames = np.random.default_rng(1).integers(0, 256, (3, 120, 160, 3), np.uint8)
    return {
        "client": client,
        "frames": frames,
        "camera_frames": lambda: iter(frames),
        "rgb": frames[0],
    }


OF_A_GPU = re.compile(r"import (cupy|torch)|cuda_shared_memory")


@pytest.mark.parametrize("example", blocks("python"), ids=str)
def test_the_example_runs_as_it_is_printed(example: Block, desk: Path, server: RunningServer):
    if OF_A_GPU.search(example.text):
        pytest.skip("its frames are on a GPU, which only `make gpu-check` has")
    program = example.text.replace("127.0.0.1:50051", server.address)
    with Client(server.address) as client:
        before = {path: path.stat().st_mtime_ns for path in desk.iterdir()}
        code = compile(program, str(example), "exec")
        exec(code, example_names(client))
        for name in WRITES.findall(program):
            written = desk / name
            assert written.stat().st_mtime_ns != before.get(written), name
            with Image.open(written) as picture:
                picture.verify()


def test_there_are_examples_on_the_pages_that_people_start_with():
    pages = {example.page for example in blocks("python")}
    assert {"README.md", "docs/protocol.md", "docs/subjects.md", "docs/shared-memory.md"} <= pages
