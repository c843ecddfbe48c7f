"""Fixtures of every tree: tiny models, and servers that really listen, on ports of their own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import structlog

from server.batcher import Batcher
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.serving import Serve, Served, serving


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """Whatever a test configures is undone after it: commands that serve in this process do."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: "tiny" (the tests' default), "other", "batched" (up to 4 a run)."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder, "tiny")
    write_tiny_model(folder, "other", layout="NHWC")
    write_tiny_model(folder, "batched", max_batch=4)
    return folder


@pytest.fixture(params=["in one go", "by stages"])
def serve(
    model_dir: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Serve:
    """`async with serve(max_requests=2) as served`: a server with these settings and a channel to
    it; once as images go through a CPU engine, once as through one that forms batches.
    """
    if request.param == "by stages":
        monkeypatch.setattr(Batcher, "runs_in_place", False)
    return partial(serving, model_dir)


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    """A server with the tests' defaults."""
    async with serve() as running:
        yield running
