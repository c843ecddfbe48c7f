"""A wire between a client and a server that counts what the client sends; used by admission's
tests.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType


class Counting:
    """Forwards connections on `port` to `target` of loopback; an async context manager.

    Attributes:
        sent: bytes that went towards the server.
        port: where it listens.
    """

    def __init__(self, target: int) -> None:
        self.sent = 0
        self.port = 0
        self._target = target
        self._pipes: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Counting:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._target)
        for source, sink, counts in ((reader, ours, True), (theirs, writer, False)):
            self._pipes.add(asyncio.create_task(self._pipe(source, sink, counts=counts)))

    async def _pipe(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counts: bool
    ) -> None:
        try:
            while data := await source.read(1 << 16):
                self.sent += len(data) * counts
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()
            with suppress(OSError, asyncio.CancelledError):
                await sink.wait_closed()
