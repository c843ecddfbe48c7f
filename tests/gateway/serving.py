"""A server with its HTTP door open, as the gateway's tests hold one; and pictures to send it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx

from server.app import App
from server.config import Config
from server.gateway.http_door import HttpDoor
from tests.server.fakes import GatedRegistry, picture
from tests.server.serving import new_app

LOOPBACK = (ip_network("127.0.0.0/8"),)
KEY = "0123456789abcdef-a-key"
OTHER_KEY = "fedcba9876543210-another"


@dataclass
class Gateway:
    """A running server and a client of its HTTP door."""

    app: App
    registry: GatedRegistry
    client: httpx.AsyncClient

    @property
    def http(self) -> HttpDoor:
        """Its HTTP door."""
        assert self.app.http is not None
        return self.app.http

    @property
    def base(self) -> str:
        """Where a client of another process reaches it."""
        return f"http://127.0.0.1:{self.http.port}"

    async def remove_bg(
        self, *, headers: dict[str, str] | None = None, files: Any = None, **fields: str
    ) -> httpx.Response:
        """POST /v1.0/removebg as a form, with a picture unless `files` holds others."""
        files = {"image_file": ("a.jpg", picture())} if files is None else files
        return await self.client.post("/v1.0/removebg", data=fields, files=files, headers=headers)


Open = Callable[..., AbstractAsyncContextManager[Gateway]]


@asynccontextmanager
async def gateway(
    model_dir: Path, *, port: bool = False, reachable: Any = (), **settings: Any
) -> AsyncIterator[Gateway]:
    """A server with these settings, whose application is called past its port unless `port`."""
    settings = {"http_port": -1, **settings}
    app, registry = new_app(model_dir, **settings)
    if reachable:
        app = App(app.config, registry=registry, reachable=reachable)
    async with app:
        assert app.http is not None
        transport = None if port else httpx.ASGITransport(app.http.gateway.app)
        base = f"http://127.0.0.1:{app.http.port}" if port else "http://gateway"
        async with httpx.AsyncClient(
            transport=transport, base_url=base, timeout=30, trust_env=False
        ) as client:
            try:
                yield Gateway(app, registry, client)
            finally:
                for engine in registry.engines.values():
                    engine.open.set()


def keys_file(folder: Path) -> Path:
    """A file with both keys."""
    path = folder / "keys"
    path.write_text(f"{KEY}\n{OTHER_KEY}\n")
    return path


def in_base64(data: bytes) -> str:
    """As JSON bodies carry pictures."""
    return base64.b64encode(data).decode("ascii")


__all__ = ["KEY", "LOOPBACK", "OTHER_KEY", "Config", "Gateway", "Open", "gateway", "in_base64"]
