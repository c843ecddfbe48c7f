"""One server a test: how images go through the stages is tested with our own services."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.server.serving import Serve, serving


@pytest.fixture
def serve(model_dir: Path) -> Serve:
    """`async with serve(max_requests=2) as served`: a server and a channel to it."""
    return partial(serving, model_dir)
