"""The page at `/`: static files out of the package, and nothing from anywhere else.

The files lie in `server/gateway/static`; `index.html` is served at `/`, all of them under
`/static`. Mounted by `server.gateway.gateway`.
"""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FILES = Path(__file__).with_name("static")
# What the page may do in a browser: its own files, pictures it made itself, the camera.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; media-src 'self' blob: mediastream:; connect-src 'self' blob:; "
    "worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Looked at again each time, so that a new version is seen at once.
    "Cache-Control": "no-cache",
}


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def routes(folder: Path = FILES) -> list[BaseRoute]:
    """`/` and `/static`; none where the package carries no page."""
    index = folder / "index.html"
    if not index.is_file():
        return []

    async def page(request: Request) -> Response:
        return FileResponse(index, headers=_HEADERS)

    return [Route("/", page, name="page"), Mount("/static", _Files(directory=folder))]
