"""What a server does when a GPU stops working: health says so, and in the end the server stops.

After some errors nothing works on a device any more (docs/gpu.md). `server.app` has a replica's
loss told here; `server.until_signal` waits for `all_lost`.
"""

from __future__ import annotations

import asyncio

import structlog

from kernels.device import DeviceError
from server.health import Health
from server.model_host import ModelHost
from server.replica import Replica


class DeviceLosses:
    """The replicas whose device is lost.

    Args:
        health: told when a model has no replica left.

    Attributes:
        all_lost: set when a model has none left. A server that was started to serve until a
            signal ends then, so that what watches it can start it anew.
    """

    def __init__(self, health: Health) -> None:
        self.all_lost = asyncio.Event()
        self._health = health
        self._host: ModelHost | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._telling: asyncio.Future[None] | None = None  # held: a loop keeps no task alive
        self._log = structlog.get_logger("server")

    def start(self, host: ModelHost) -> None:
        """Losses are taken in by the running loop from now on; `host` knows what is left."""
        self._host, self._loop = host, asyncio.get_running_loop()

    def told(self, name: str, replica: Replica, error: DeviceError) -> None:
        """A replica's device does nothing any more; called in the thread that found out."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._lose, name, replica, error)

    def _lose(self, name: str, replica: Replica, error: DeviceError) -> None:
        if replica.is_lost:
            return
        replica.is_lost = True
        self._log.error(
            "device lost: start the server again",
            model=name,
            device=replica.used.device,
            error=str(error),
        )
        assert self._host is not None
        hosted = self._host.state(name)[1]
        if hosted is not None and hosted.is_lost:
            self._telling = asyncio.ensure_future(self._nothing_left(name))

    async def _nothing_left(self, name: str) -> None:
        await self._health.set_model(name, False)
        await self._health.set_server(False)
        self.all_lost.set()
