"""A running server whose models run the GPU's path, on the emulated device."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from mattestream.v1 import removal_pb2_grpc
from server.app import App
from server.config import Config
from tests.fakes.emulated_engine import EmulatedRegistry


@asynccontextmanager
async def serving(
    folder: Path, *, record: bool = True, **settings: object
) -> AsyncIterator[
    tuple[App, EmulatedRegistry, removal_pb2_grpc.BackgroundRemovalServiceAsyncStub]
]:
    registry = EmulatedRegistry((folder,), late=True, record=record)
    defaults = {
        "port": 0,
        "metrics_port": -1,
        "http_port": 0,
        "model": "tiny",
        "threads": 2,
        "device": "cpu",
        "gpu_jpeg": "off",
    }
    app = App(Config(**{**defaults, **settings}), registry=registry)  # type: ignore[arg-type]
    async with app, grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
        try:
            yield app, registry, removal_pb2_grpc.BackgroundRemovalServiceStub(channel)
        finally:
            for engine in registry.engines.values():
                engine.is_open.set()
