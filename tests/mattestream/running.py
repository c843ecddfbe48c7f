"""The real application beside a test that has no event loop: for sync clients and commands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.app import App
from server.config import Config


class RunningServer:
    """The real application on its own loop in a thread, so that sync clients can be tested too."""

    def __init__(self, config: Config) -> None:
        self.address = ""
        self.http = ""  # address of the HTTP gateway, where the config opens one
        self._config = config
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        async with App(self._config) as app:
            self.address = f"127.0.0.1:{app.port}"
            self.http = f"http://127.0.0.1:{app.http.port}" if app.http else ""
            self._ready.set()
            await self._end.wait()

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(60)
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(60)


@contextmanager
def running_server(config: Config) -> Iterator[str]:
    """The address of a server with this config, for as long as the block lasts."""
    server = RunningServer(config)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()
