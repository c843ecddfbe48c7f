"""A request's bytes as they arrive: counted against the limits before anything is parsed.

`server.gateway.body` and `server.gateway.batches` read through it. Two bounds: the body of one
request, and all bodies that are in the server at once, so that many callers with large bodies
cannot fill the memory before the pipeline's own admission sees them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import ClientDisconnect, Request

from server.admission import Overloaded
from server.config import MEBIBYTE
from server.gateway.errors import BadRequest, TooLarge, TooSlow

PATIENCE_S = 30.0  # without a byte; a phone's bad connection pauses, a slow-loris never goes on
RETRY_MS = 500
_ON_LOOP_BYTES = 1 << 21  # under 1 ms


class Room:
    """Bytes of request bodies in memory at once.

    Args:
        max_bytes: of all requests together.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.taken = 0


class Hold:
    """One request's share of the room; given back by `release`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._bytes = 0

    def take(self, count: int) -> None:
        """Room for `count` bytes more.

        Raises:
            Overloaded: there is none now.
        """
        room = self._room
        if room.taken + count > room.max_bytes:
            raise Overloaded(
                f"the server's memory for requests is full: {room.taken / MEBIBYTE:.0f} of "
                f"{room.max_bytes / MEBIBYTE:.0f} MiB are taken",
                RETRY_MS,
                "bodies",
            )
        room.taken += count
        self._bytes += count

    def release(self) -> None:
        """The request is over; harmless twice."""
        self._room.taken -= self._bytes
        self._bytes = 0


class CallerGone(Exception):
    """Nobody is there any more to hear this."""


async def chunks(
    request: Request, max_bytes: int, hold: Hold | None = None, patience_s: float = PATIENCE_S
) -> AsyncGenerator[bytes, None]:
    """The body's bytes as they come.

    Args:
        request: not read yet.
        max_bytes: of the whole body; what the header announces is looked at first.
        hold: takes room for what came; None: the reader keeps nothing in memory.
        patience_s: longest time without a byte.

    Raises:
        TooLarge: there is more, or more is announced.
        TooSlow: nothing came.
        Overloaded: the server has no room for it.
        CallerGone: the caller hung up.
    """
    announced = request.headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit():
        raise BadRequest(f"Content-Length is {announced[:20]!r}: it must be a number of bytes")
    if len(announced) > 18 or int(announced) > max_bytes:
        raise too_large(f"{announced[:20]} bytes", max_bytes)
    seen = 0
    # Closed here and not by the garbage collector: that takes a task each, and keeps the body.
    async with aclosing(request.stream()) as stream:
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    chunk = await anext(stream, None)
            except TimeoutError:
                raise TooSlow(
                    f"nothing came for {patience_s:g} s after {seen} bytes of the body: send it "
                    "again"
                ) from None
            except ClientDisconnect:
                raise CallerGone from None
            if chunk is None:
                return
            seen += len(chunk)
            if seen > max_bytes:
                raise too_large(f"more than {max_bytes} bytes", max_bytes)
            if hold is not None:
                hold.take(len(chunk))
            if chunk:
                yield chunk


async def whole(request: Request, max_bytes: int, hold: Hold) -> bytes:
    """The whole body; errors as of `chunks`."""
    async with aclosing(chunks(request, max_bytes, hold)) as stream:
        return await joined([chunk async for chunk in stream])


async def joined(pieces: list[bytes]) -> bytes:
    """The pieces as one; many megabytes in a thread, where Python lets others run meanwhile."""
    if sum(map(len, pieces)) <= _ON_LOOP_BYTES:
        return b"".join(pieces)
    return await asyncio.to_thread(b"".join, pieces)


def too_large(what: str, max_bytes: int) -> TooLarge:
    """The refusal of a body."""
    return TooLarge(
        f"the request's body has {what}, this server takes up to {max_bytes} "
        f"({max_bytes / MEBIBYTE:g} MiB): send a smaller picture, or start with a larger "
        "--http-max-body-mb",
        reason="file_too_large",
    )
