"""A running server with a channel to it, as tests hold one; fixtures are in tests/conftest.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from mattestream.v1 import models_pb2_grpc, removal_pb2_grpc
from server.app import App
from server.config import Config
from tests.server.fakes import GatedRegistry


@dataclass
class Served:
    """A running server and a channel to it."""

    app: App
    registry: GatedRegistry
    channel: grpc.aio.Channel

    @property
    def removal(self) -> removal_pb2_grpc.BackgroundRemovalServiceAsyncStub:
        return removal_pb2_grpc.BackgroundRemovalServiceStub(self.channel)

    @property
    def models(self) -> models_pb2_grpc.ModelsServiceAsyncStub:
        return models_pb2_grpc.ModelsServiceStub(self.channel)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


def new_app(
    model_dir: Path, *, concurrent_runs: int | None = None, **settings: object
) -> tuple[App, GatedRegistry]:
    """A server that has not started, on free ports, over the gated models of `model_dir`.

    Args:
        concurrent_runs: runs at once of each engine; None: as the CPU engine wants.
        settings: of the server's config.
    """
    defaults = {
        "port": 0,
        "metrics_port": -1,
        "http_port": 0,
        "model": "tiny",
        "threads": 2,
        "device": "cpu",
    }
    registry = GatedRegistry((model_dir,), concurrent_runs)
    return App(Config(**{**defaults, **settings}), registry=registry), registry  # type: ignore[arg-type]


@asynccontextmanager
async def serving(model_dir: Path, **settings: Any) -> AsyncIterator[Served]:
    """A server with these settings, started and stopped around the block."""
    app, registry = new_app(model_dir, **settings)
    async with app:
        options = (("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{app.port}", options) as channel:
            try:
                yield Served(app, registry, channel)
            finally:
                # A test that failed may have left a gate shut; the server waits for its runs.
                for engine in registry.engines.values():
                    engine.open.set()
