"""Steps that frames of one stream must take in their order, though they are worked on at once.

Used by `server.streams.memory`; lives on the event loop. A frame takes its ticket when work on it
begins, waits for its turn at a step, and passes the turn on. A frame that fails on its way hands
its ticket back all the same, so none waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """One step; tickets are numbers from 0 on, each ended once by `end`."""

    def __init__(self) -> None:
        self._now = 0
        self._ended: set[int] = set()  # at most one per frame in the window
        self._waiting: dict[int, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def turn(self, ticket: int) -> AsyncIterator[None]:
        """A block that no other frame is in; entered when all frames before have ended theirs."""
        if ticket > self._now:
            come = asyncio.get_running_loop().create_future()
            self._waiting[ticket] = come
            try:
                await come
            finally:
                self._waiting.pop(ticket, None)
        try:
            yield
        finally:
            self.end(ticket)

    def end(self, ticket: int) -> None:
        """The frame has taken this step, or never will. Harmless when said twice."""
        if ticket < self._now:
            return
        self._ended.add(ticket)
        while self._now in self._ended:
            self._ended.remove(self._now)
            self._now += 1
        come = self._waiting.get(self._now)
        if come is not None and not come.done():
            come.set_result(None)
