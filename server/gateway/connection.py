"""One connection of the HTTP port: uvicorn's, which waits forever for a request's head to end; this
one does not, or a thousand callers who say nothing could keep all others out.

`server.gateway.listener` hands it to uvicorn. Bodies have `server.gateway.intake`'s patience, and
what is idle between two requests has uvicorn's own.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_PATIENCE_S = 20.0  # from the first byte, or the connection, to the end of the headers


class Connection(H11Protocol):
    """Closes when a request's head takes too long."""

    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The patience begins."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """The patience ends with the head, and begins with the next one's first byte."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_more()
        elif self._giving_up is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._giving_up = self.loop.call_later(HEAD_PATIENCE_S, self._give_up)

    def _wait_no_more(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        self._giving_up = None
        self.transport.close()
