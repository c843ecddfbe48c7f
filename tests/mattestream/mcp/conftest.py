"""An MCP server over a real mattestream server, and the MCP SDK's own client, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcp import Client
from mcp.server import MCPServer

from mattestream.aio import AsyncClient
from mattestream.mcp.places import Places
from mattestream.mcp.shelf import Shelf
from mattestream.mcp.tools import make_server
from tests.server.serving import serving

WIDTH, HEIGHT = 120, 80


def picture(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A PNG: a white block on black, which the tiny model takes for the subject."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = 255
    return cv2.imencode(".png", pixels)[1].tobytes()


@dataclass
class Desk:
    """An agent's desk: its client, its folder, and a picture in it."""

    client: Client
    folder: Path
    photo: Path


@asynccontextmanager
async def connected(server: MCPServer[None]) -> AsyncIterator[Client]:
    """The client, entered and left in one task, as it must be; a fixture's two halves are not."""
    ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def hold() -> None:
        async with Client(server) as client:
            ready.set_result(client)
            await done.wait()

    task = asyncio.create_task(hold())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            await task  # it could not connect, and says why
        yield ready.result()
    finally:
        done.set()
        await task


@pytest.fixture
async def desk(model_dir: Path, tmp_path: Path) -> AsyncIterator[Desk]:
    folder = tmp_path / "open"
    folder.mkdir()
    photo = folder / "photo.png"
    photo.write_bytes(picture())
    places = Places([folder], max_bytes=1 << 20)
    async with (
        serving(model_dir) as served,
        AsyncClient(f"127.0.0.1:{served.app.port}") as removal,
        connected(make_server(removal, places, Shelf(1 << 20))) as client,
    ):
        yield Desk(client, folder, photo)
