"""The HTTP port: uvicorn in this process and on this event loop, without its signals and logs.

Made by `server.app`, which owns its life as it owns the gRPC server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp

from server.config import Config
from server.gateway.connection import Connection
from server.listener import StartError

KEEP_ALIVE_S = 65  # longer than load balancers keep theirs, so that they close first
HEADER_BYTES = 1 << 16
BACKLOG = 1024

# It warns of each request that is no HTTP; anyone could fill the log with those.
logging.getLogger("uvicorn").setLevel(logging.ERROR)


class _Server(uvicorn.Server):
    """Leaves SIGTERM and SIGINT to `server.app`, which drains both doors; says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens."""
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


class HttpListener:
    """Serves `app` on the port that the config names.

    Args:
        app: the gateway.
        config: for address, TLS and the most connections.
    """

    def __init__(self, app: ASGIApp, config: Config) -> None:
        self._app = app
        self._config = config
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Listens.

        Raises:
            StartError: the address cannot be had, or the TLS files cannot be used.
        """
        config = self._config
        settings = uvicorn.Config(
            self._app,
            lifespan="off",
            http=Connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # anyone could claim to be someone else
            limit_concurrency=config.max_calls,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=HEADER_BYTES,
            ssl_certfile=config.tls_cert,
            ssl_keyfile=config.tls_key,
        )
        try:
            settings.load()
        except OSError as error:  # ssl.SSLError is one
            raise StartError(f"cannot serve HTTP with TLS: {error}") from error
        listening = _bound(config)
        self.port = listening.getsockname()[1]
        self._server = _Server(settings)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        up = asyncio.create_task(self._server.is_up.wait())
        await asyncio.wait({up, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._serving.done():
            self._serving.result()

    async def stop(self) -> None:
        """Closes the port; requests under way get a second to send their answers."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        try:
            await self._serving
        except Exception as error:  # a shutdown goes on
            structlog.get_logger("server").warning("HTTP stopped with an error", error=str(error))
        self._server = self._serving = None


def _bound(config: Config) -> socket.socket:
    """A socket on the address; not listening yet, uvicorn does that."""
    host = config.http_host.strip("[]")
    port = max(0, config.http_port)
    shown = f"{config.http_host}:{config.http_port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise StartError(
            f"cannot serve HTTP on {shown}: {host!r} is not known as a host, choose another "
            "--http-host"
        ) from error
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)  # now, so that a second server hears of it here and not later
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        why = (
            "another program listens there"
            if error.errno == errno.EADDRINUSE
            else str(error.strerror)
        )
        raise StartError(
            f"cannot serve HTTP on {shown}: {why}; choose another --http-port, -1 for a free one, "
            "or 0 for no HTTP"
        ) from error
    return bound
