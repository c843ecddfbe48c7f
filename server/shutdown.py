"""Whether the server still takes work, and how much is under way.

`server.interceptors` counts calls in and out, `server.services.streams` its streams, and
`server.app` drains: it closes the gate, then waits until the last one has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class ShuttingDown(Exception):
    """The server takes no new work."""


class Gate:
    """Open until `close`; knows how many calls are inside."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_open = True
        self._empty = asyncio.Event()
        self._empty.set()

    def close(self) -> None:
        """From here on everyone is turned away."""
        self.is_open = False

    @contextmanager
    def passed(self) -> Iterator[None]:
        """A block that counts as work under way.

        Raises:
            ShuttingDown: the gate is closed.
        """
        if not self.is_open:
            raise ShuttingDown(
                "the server is shutting down: send the request to another one, or try again later"
            )
        self.calls += 1
        self._empty.clear()
        try:
            yield
        finally:
            self.calls -= 1
            if self.calls == 0:
                self._empty.set()

    async def wait_empty(self, timeout_s: float) -> bool:
        """True as soon as nobody is inside, False when the time was up first."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
