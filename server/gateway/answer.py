"""Answers whose bytes take room on the server until the caller has them.

Made by the APIs of `server.gateway` for pictures, and for archives that lie on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# Sent in pieces, because only between two of them the server hears that the caller reads slowly.
PIECE_BYTES = 1 << 18
STALL_S = 60.0  # without reading a piece: the caller is gone, or wants to hold our memory


class PictureAnswer(Response):
    """A picture, or whatever large; `release` is called when the last byte has left, or never will.

    Args:
        data: the whole of it.
        media_type: its type.
        headers: further ones.
        release: gives its room back.
    """

    def __init__(
        self,
        data: bytes,
        media_type: str,
        headers: Mapping[str, str],
        release: Callable[[], None],
    ) -> None:
        super().__init__(data, media_type=media_type, headers=dict(headers))
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            view = memoryview(self.body)
            for at in range(0, len(view), PIECE_BYTES):
                piece = bytes(view[at : at + PIECE_BYTES])
                more = at + PIECE_BYTES < len(view)
                async with asyncio.timeout(STALL_S):
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
            if not view:
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._release()


def wants_json(request: Request) -> bool:
    """True when the caller asks for JSON, and not for a picture as well."""
    accepted = request.headers.get("accept", "").lower()
    return "application/json" in accepted and "image/" not in accepted
