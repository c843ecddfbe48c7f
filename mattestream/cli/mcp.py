"""`mattestream mcp`: the tools for agents, over stdio or streamable HTTP.

With --address the work is done by that server. Without, a server runs inside this process, behind
a free port of 127.0.0.1: agents get what every other caller gets, through the same door.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mattestream.cli.connect import connection_flags
from mattestream.cli.failures import Failure, WrongUse, as_sentences
from mattestream.cli.in_process import HOST, connected, in_process_flags
from mattestream.cli.sections import Sectioned

if TYPE_CHECKING:
    from mcp.server import MCPServer

MEBIBYTE = 1 << 20


@click.command(cls=Sectioned)
@click.option(
    "--allow",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that agents may read from and write to, with all below; repeatable.  "
    "[default over stdio: the current folder; over HTTP: none]",
)
@click.option(
    "--http",
    "http_port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help=f"Serve streamable HTTP at http://{HOST}:PORT/mcp instead of stdio; 0 takes a free port.",
)
@click.option(
    "--keep-mb",
    type=click.IntRange(1, 65536),
    default=256,
    show_default=True,
    metavar="MIB",
    help="Memory for results that agents may still fetch.",
)
@connection_flags
@in_process_flags
def mcp(folders: tuple[Path, ...], http_port: int | None, keep_mb: int, **flags: Any) -> None:
    """Serve background removal to agents, as tools of the Model Context Protocol.

    Over stdio it ends when its input does; logs go to stderr.

    \b
    mattestream mcp --allow ~/Pictures              an agent's host starts it
    mattestream mcp --allow ~/Pictures --http 8765
    """  # noqa: D301 - click reads the backspace as "leave these lines alone"
    with as_sentences():
        if not folders and http_port is None:
            folders = (Path.cwd(),)
        try:
            asyncio.run(_serve(folders, http_port, keep_mb * MEBIBYTE, flags))
        except ModuleNotFoundError as error:
            if error.name not in {"mcp", "mcp_types"}:
                raise
            raise Failure(
                "mcp is not installed: the tools for agents need pip install "
                "'mattestream[server,mcp]'"
            ) from error


async def _serve(
    folders: tuple[Path, ...], http_port: int | None, keep_bytes: int, flags: dict[str, Any]
) -> None:
    from mattestream.mcp.places import Places
    from mattestream.mcp.shelf import Shelf
    from mattestream.mcp.tools import make_server

    async with connected(flags) as client:
        places = Places(folders, max_bytes=64 * MEBIBYTE)
        server = make_server(client, places, Shelf(keep_bytes))
        if http_port is None:
            await server.run_stdio_async()
        else:
            await _serve_http(server, http_port)


async def _serve_http(server: MCPServer[Any], port: int) -> None:
    """Until a signal. Only this machine is listened to, and only under its own names, so that a
    page in a browser cannot talk to it.
    """
    import uvicorn

    app = server.streamable_http_app(host=HOST, max_request_body_size=64 * MEBIBYTE)
    running = uvicorn.Server(uvicorn.Config(app, host=HOST, port=port, log_level="warning"))
    try:
        listener = running.config.bind_socket()
    except SystemExit:  # what uvicorn makes of a port that is taken
        raise WrongUse(f"port {port} of {HOST} is taken: choose another --http port") from None
    click.echo(f"mattestream mcp: http://{HOST}:{listener.getsockname()[1]}/mcp", err=True)
    await running.serve(sockets=[listener])
