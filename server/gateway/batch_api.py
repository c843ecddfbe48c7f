"""`/v1/batches`: many pictures, or archives of them, handed in at once and fetched later.

A face of `server.gateway.batches`; how an upload reaches the disk is
`server.gateway.batch_upload`'s. Routes are made by `server.gateway.gateway`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import IO

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from server.gateway.answer import PIECE_BYTES, STALL_S
from server.gateway.batch_store import Batch
from server.gateway.batch_upload import receive
from server.gateway.batches import Batches
from server.gateway.errors import NoSuchPage, NotNow, NotOffered
from server.gateway.exchange import Exchange

MOST_ERRORS = 100  # shown; the archive's failed.json has all
LOOK_AGAIN_S = 1.0


class BatchApi:
    """Handlers of `/v1/batches`.

    Args:
        batches: None: this server takes none.
        max_image_bytes: of one picture.
    """

    def __init__(self, batches: Batches | None, max_image_bytes: int) -> None:
        self._given = batches
        self._max_image_bytes = max_image_bytes

    @property
    def _batches(self) -> Batches:
        if self._given is None:
            raise NotOffered(
                "this server takes no batches: send pictures one by one to /v1/remove, or start "
                "the server with --batch-dir"
            )
        return self._given

    async def submit(self, exchange: Exchange) -> Response:
        """POST /v1/batches: pictures in, an id out."""
        batches = self._batches
        batch = await receive(exchange, batches, self._max_image_bytes)
        location = f"/v1/batches/{batch.id}"
        return JSONResponse(self._described(batch), 202, {"Location": location})

    async def all(self, exchange: Exchange) -> Response:
        """GET /v1/batches: the caller's own."""
        mine = self._batches.of(exchange.call.owner)
        return JSONResponse({"batches": [self._described(batch) for batch in mine]})

    async def one(self, exchange: Exchange) -> Response:
        """GET /v1/batches/ID: how far it is."""
        batch = self._named(exchange)
        errors = [
            {"name": batch.names[place], "message": batch.over[place]}
            for place in batch.failed[:MOST_ERRORS]
        ]
        return JSONResponse({**self._described(batch), "errors": errors})

    async def results(self, exchange: Exchange) -> Response:
        """GET /v1/batches/ID/results: the archive, once all is over."""
        batch = self._named(exchange)
        if not batch.has_results:
            raise NotNow(
                f"the batch is not done: {len(batch.over)} of {len(batch.names)} pictures are; "
                "ask for /v1/batches/ID until its state is done",
                retry_after_s=LOOK_AGAIN_S,
            )
        return FileAnswer(self._batches.store.results(batch.id), f"{batch.id}.zip")

    async def delete(self, exchange: Exchange) -> Response:
        """DELETE /v1/batches/ID: ends it, and takes it from the disk."""
        await self._batches.delete(self._named(exchange))
        return Response(status_code=204)

    def _named(self, exchange: Exchange) -> Batch:
        batch_id = exchange.request.path_params["batch"]
        batch = self._batches.find(batch_id, exchange.call.owner)
        if batch is None:
            raise NoSuchPage(
                f"there is no batch {batch_id[:40]!r} of yours: it may have been deleted, by "
                "you or by its age"
            )
        return batch

    def _described(self, batch: Batch) -> dict[str, object]:
        return {
            "id": batch.id,
            "state": self._batches.state(batch),
            "images": len(batch.names),
            "done": len(batch.over),
            "failed": len(batch.failed),
            "created_at": _moment(batch.created_at),
            "expires_at": _moment(batch.created_at + self._batches.keep_s),
        }


class FileAnswer(Response):
    """A file that is open already: deleted meanwhile, it can still be sent."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        length = file.seek(0, 2)
        file.seek(0)
        super().__init__(media_type="application/zip")
        self.headers["Content-Length"] = str(length)
        self.headers["Content-Disposition"] = f'attachment; filename="{name}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while piece := await asyncio.to_thread(self._file.read, PIECE_BYTES):
                async with asyncio.timeout(STALL_S):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._file.close()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
