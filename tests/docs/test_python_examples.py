"""Every Python block of the pages runs as it is printed, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kernels.device import DeviceError
from kernels.gpus import devices
from mattestream import Client
from tests.docs.pages import Block, blocks
from tests.mattestream.running import RunningServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NEEDS_GPU = re.compile(r"import cupy|cuda_shared_memory")
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


def _has_gpu() -> bool:
    try:
        return bool(devices())
    except DeviceError:
        return False


@pytest.mark.parametrize("example", blocks("python"), ids=str)
def test_the_example_runs_as_it_is_printed(example: Block, desk: Path, server: RunningServer):
    program = example.text.replace("127.0.0.1:50051", server.address)
    with Client(server.address) as client:
        before = {path: path.stat().st_mtime_ns for path in desk.iterdir()}
        code = compile(program, str(example), "exec")
        if NEEDS_GPU.search(program) and not _has_gpu():
            pytest.skip("the example is about a GPU's memory, and there is no GPU")
        exec(code, example_names(client))
        for name in WRITES.findall(program):
            written = desk / name
            assert written.stat().st_mtime_ns != before.get(written), name
            with Image.open(written) as picture:
                picture.verify()


def test_there_are_examples_on_the_pages_that_people_start_with():
    pages = {example.page for example in blocks("python")}
    assert {"README.md", "docs/protocol.md", "docs/subjects.md", "docs/shared-memory.md"} <= pages
