"""The whole of the HTTP door as one ASGI application: every route, and who answers it.

Made by `server.app`, served by `server.gateway.listener`; tests talk to `app` without a port.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from server.config import MEBIBYTE, Config
from server.gateway import docs_page, openapi, own, page, rembg, removebg
from server.gateway.batch_api import BatchApi
from server.gateway.batches import Batches
from server.gateway.door import Door
from server.gateway.errors import NoSuchPage, WrongMethod, failure_of
from server.gateway.exchange import Exchanges, Words, own_words
from server.gateway.fetch import Fetcher

# What pages of other origins may read of an answer.
_EXPOSED = (
    own.REPORT,
    own.RESULT,
    "X-Request-Id",
    "Retry-After",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Type",
    "X-Width",
    "X-Height",
    "X-Max-Width",
    "X-Max-Height",
    "X-Credits-Charged",
    "X-Foreground-Top",
    "X-Foreground-Left",
    "X-Foreground-Width",
    "X-Foreground-Height",
)


class Gateway:
    """Every route.

    Args:
        door: to the pipeline.
        exchanges: what each request passes.
        fetcher: brings pictures by URL.
        batches: those that lie on disk; None: this server takes none.
        list_models: every model.
        is_ready: True while the server takes work.
        config: limits, and who may call from a browser.
    """

    def __init__(
        self,
        door: Door,
        exchanges: Exchanges,
        *,
        fetcher: Fetcher,
        batches: Batches | None,
        list_models: own.ListModels,
        is_ready: Callable[[], bool],
        config: Config,
    ) -> None:
        self._is_ready = is_ready
        most = config.http_max_body_mb * MEBIBYTE
        ours = own.OwnApi(door, list_models, most)
        theirs = removebg.RemoveBgApi(door, fetcher, most)
        rembgs = rembg.RembgApi(door, fetcher, most)
        batched = BatchApi(batches, most)
        add = exchanges.route
        routes: list[BaseRoute] = [
            add("POST", "/v1/remove", ours.remove, own_words),
            add("POST", "/v1/segment", ours.segment, own_words),
            add("GET", "/v1/models", ours.models, own_words),
            add("POST", "/v1/batches", batched.submit, own_words),
            add("GET", "/v1/batches", batched.all, own_words),
            add("GET", "/v1/batches/{batch}", batched.one, own_words),
            add("DELETE", "/v1/batches/{batch}", batched.delete, own_words),
            add("GET", "/v1/batches/{batch}/results", batched.results, own_words),
            add("POST", "/v1.0/removebg", theirs.remove, removebg.remove_bg_words),
            add("GET", "/v1.0/account", theirs.account, removebg.remove_bg_words),
            add("POST", "/v1.0/improve", theirs.improve, removebg.remove_bg_words),
            add("GET", "/api/remove", rembgs.by_url, rembg.rembg_words),
            add("POST", "/api/remove", rembgs.by_file, rembg.rembg_words),
            Route("/healthz", self._alive),
            Route("/readyz", self._ready),
            Route("/openapi.json", openapi.page),
            Route("/docs", docs_page.page),
            *page.routes(),
        ]
        middleware: Sequence[Middleware] = ()
        if config.cors_origins:
            cors = Middleware(
                CORSMiddleware,
                allow_origins=config.cors_origins,
                allow_methods=("GET", "POST", "DELETE"),
                allow_headers=("*",),
                expose_headers=_EXPOSED,
                max_age=3600,
            )
            middleware = (cors,)
        self.app = Starlette(
            routes=routes,
            middleware=middleware,
            exception_handlers={HTTPException: _refused},
        )
        # A POST that is sent on to another address loses its body on the way.
        self.app.router.redirect_slashes = False

    async def _alive(self, request: Request) -> Response:
        """The process answers."""
        return JSONResponse({"status": "alive"})

    async def _ready(self, request: Request) -> Response:
        """The models are warm, and work is taken."""
        ready = self._is_ready()
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)


async def _refused(request: Request, error: Exception) -> Response:
    """Where no route was found, in the words of the API that the address looks like."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    path = request.url.path
    refused: Exception
    if status == 405:
        allowed = _allow(error)
        refused = WrongMethod(f"{path[:80]} takes no {request.method}: it takes {allowed}")
    else:
        refused = NoSuchPage(f"there is no {path[:80]} here: /docs lists what there is")
    failure = failure_of(refused, "none")
    response = _words_of(path)(failure, "none")
    if status == 405:
        response.headers["Allow"] = _allow(error)
    return response


def _words_of(path: str) -> Words:
    if path.startswith("/v1.0/"):
        return removebg.remove_bg_words
    return rembg.rembg_words if path.startswith("/api/") else own_words


def _allow(error: Exception) -> str:
    headers = error.headers if isinstance(error, HTTPException) else None
    return (headers or {}).get("Allow", "another method")
